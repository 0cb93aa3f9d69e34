type Part = Markup | string | number | undefined | readonly Part[]

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

/** What may stand in a document as it is. */
export class Markup {
  readonly text: string

  constructor (text: string) {
    this.text = text
  }

  toString () {
    return this.text
  }
}

/** Text of a file of ours, with the line ends that a parser of HTML makes of all, so that its hash is that of what the parser sees. */
export const verbatim = (text: string) => new Markup(text.replaceAll('\r\n', '\n'))

/** A piece of HTML. Values become text, also within the quotes of an attribute; only what is markup already stays so. */
export function html (pieces: TemplateStringsArray, ...parts: Part[]) {
  return new Markup(String.raw({ raw: pieces }, ...parts.map(textOf)))
}

function textOf (part: Part): string {
  if (part instanceof Markup) return part.text
  if (Array.isArray(part)) return part.map(textOf).join('')
  return String(part ?? '').replace(/[&<>"']/g, (character) => ENTITIES[character]!)
}
