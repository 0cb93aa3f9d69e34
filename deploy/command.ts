import { parseArgs, type ParseArgsConfig } from 'node:util'

type Options = NonNullable<ParseArgsConfig['options']>
export type Values = Record<string, unknown>

/** What an operator may ask for: with so many operands, and those of the options that mean something to it. */
export type Verb = { operands?: number, options?: string[], run: (operands: string[], values: Values) => Promise<void> }

type Command = { help: string, options: Options, verbs: Record<string, Verb>, sentenceOf?: (error: Error) => string }

export const write = (line: string) => process.stdout.write(`${line}\n`)
const complain = (line: string) => process.stderr.write(`${line}\n`)

/** A setting of the environment. A blank is as good as nothing, for the service too. */
export const setting = (name: string) => process.env[name]?.trim() || undefined

/** Runs an operator's command and answers its exit code: 0 done, 1 refused or failed, which is one sentence, 2 not understood. */
export async function runCommand ({ help, options, verbs, sentenceOf = firstLineOf }: Command, args = process.argv.slice(2)): Promise<number> {
  const asked = parse(args, options)
  if (asked?.values.help || asked?.name === 'help') {
    write(help)
    return 0
  }
  const verb = asked && Object.hasOwn(verbs, asked.name) ? verbs[asked.name] : undefined
  if (!asked || !verb || !fits(asked, verb)) {
    complain(help)
    return 2
  }
  try {
    await verb.run(asked.operands, asked.values)
    return 0
  } catch (error) {
    complain(sentenceOf(error as Error))
    return 1
  }
}

function parse (args: string[], options: Options) {
  try {
    const { values, positionals: [name = '', ...operands] } = parseArgs({ args, options: { ...options, help: { type: 'boolean', short: 'h' } }, allowPositionals: true })
    return { name, operands, values: values as Values }
  } catch {
    return undefined      // an option that is not known, or lacks its value
  }
}

// An option that a verb ignored would be worse than one that it refuses: `generate --dry-run`.
function fits ({ operands, values }: { operands: string[], values: Values }, { operands: count = 0, options = [] }: Verb) {
  return operands.length === count && Object.keys(values).every((name) => options.includes(name))
}

const firstLineOf = ({ message }: Error) => message.split('\n', 1).join()
