import { median } from '../timing/statistics.ts'

type Sample = { perSecond: number, cpuMicros?: number } | { ms: number }
export type Subjects = Record<string, () => Promise<Sample>>
/** The median of what a subject reached, and what one request of it took of the CPU in the median; `stolen`: what the row lost to other machines, 0 to 1. */
export type Figure = { row: string, subject: string, value: number, unit: '/s' | ' ms' | ' MB', samples: number[], cpuMicros?: number, stolen?: number }
type Options = { rounds: number, onRound: () => void }

/** Each subject once to warm up, then once in every round, forwards and backwards by turns. */
export async function alternate (row: string, subjects: Subjects, { rounds, onRound }: Options): Promise<Figure[]> {
  const names = Object.keys(subjects)
  const samples = new Map<string, Sample[]>(names.map((name) => [name, []]))
  for (let round = 0; round <= rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const sample = await subjects[name]!()
      if (round > 0) samples.get(name)!.push(sample)
    }
    onRound()
  }
  return names.map((subject) => figureOf(row, subject, samples.get(subject)!))
}

function figureOf (row: string, subject: string, samples: Sample[]): Figure {
  const values = samples.map((sample) => 'ms' in sample ? sample.ms : sample.perSecond)
  const cpu = samples.flatMap((sample) => 'cpuMicros' in sample ? sample.cpuMicros! : [])
  return { row, subject, value: median(values), unit: 'ms' in samples[0]! ? ' ms' : '/s', samples: values, ...cpu.length > 0 && { cpuMicros: median(cpu) } }
}
