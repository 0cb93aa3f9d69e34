import fp from 'fastify-plugin'
import type { FastifyReply } from 'fastify'

declare module 'fastify' {
  interface FastifyReply {
    /** Which of these media types the client likes best, the first among equals; the answer then varies with Accept. */
    negotiate: <Type extends string>(...offers: [Type, ...Type[]]) => Type
  }
}

const QUALITY = /^q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/i

/**
 * Proactive negotiation (RFC 9110 section 12.5.1): the most specific range that names a type decides about it. Parameters but `q`
 * are not looked at. Who takes none of the offers gets the first, as the section allows.
 */
export function preferred<Type extends string> (accept: string | undefined, offers: [Type, ...Type[]]): Type {
  const ranges = new Map((accept ?? '*/*').split(',').map(rangeOf))
  return offers.reduce((best, offer) => qualityOf(offer) > qualityOf(best) ? offer : best)

  function qualityOf (type: string) {
    return ranges.get(type) ?? ranges.get(type.replace(/\/.*/, '/*')) ?? ranges.get('*/*') ?? 0
  }
}

function rangeOf (text: string): [range: string, quality: number] {
  const [range = '', ...parameters] = text.split(';').map((part) => part.trim())
  const quality = parameters.find((parameter) => /^q=/i.test(parameter)) ?? 'q=1'
  return [range.toLowerCase(), Number(QUALITY.exec(quality)?.[1] ?? 0)]
}

export default fp(async (app) => {
  app.decorateReply('negotiate', function <Type extends string> (this: FastifyReply, ...offers: [Type, ...Type[]]) {
    const vary = this.getHeader('vary')
    this.header('vary', vary === undefined ? 'Accept' : `${vary}, Accept`)
    return preferred(this.request.headers.accept, offers)
  })
}, { name: 'negotiation', dependencies: ['security'] })
