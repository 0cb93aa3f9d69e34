import { test } from 'tap'
import { runCommand } from '../../deploy/command.ts'

const HELP = 'Usage: as you like it'
const options = { file: { type: 'string' }, 'dry-run': { type: 'boolean' } } as const

test('help is an answer wherever it is asked for, and what is not understood is a wrong usage, and not done', async (t) => {
  const nobody = async () => { throw new Error('it is done') }
  const many = { list: { options: ['file'], run: nobody }, prune: { options: ['file', 'dry-run'], run: nobody }, show: { operands: 1, run: nobody } }
  const one = { '': { options: ['file', 'dry-run'], run: nobody } }
  const ask = async (verbs: Parameters<typeof runCommand>[0]['verbs'], args: string[]) => {
    const outputs = [t.capture(process.stdout, 'write'), t.capture(process.stderr, 'write')]
    const ended = runCommand({ help: HELP, options, verbs }, args)      // which says all of this before it waits for anything
    const said = outputs.map((output) => output.args().flat().join(''))
    for (const { restore } of outputs) restore()
    return [await ended, ...said]
  }

  for (const verbs of [many, one]) {
    for (const args of [['help'], ['--help'], ['-h'], ['prune', '--help'], ['show', '-h']]) t.same(await ask(verbs, args), [0, `${HELP}\n`, ''], args.join(' '))
  }
  for (const args of [[], ['rotate'], ['toString'], ['list', 'twice'], ['list', '--dry-run'], ['list', '--file'], ['prune', '--now'], ['show'], ['show', 'a', 'b'], ['show', 'a', '--file=b']]) {
    t.same(await ask(many, args), [2, '', `${HELP}\n`], args.join(' '))
  }
  for (const args of [['prune'], ['--rate', '5'], ['--file'], ['--dry-run=no']]) t.same(await ask(one, args), [2, '', `${HELP}\n`], args.join(' '))
})
