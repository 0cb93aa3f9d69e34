import { domainToASCII } from 'node:url'
import { refusal, Validation } from '../errors.ts'

const MAX_BYTES = 254
const MAX_LOCAL_BYTES = 64
// What is invisible would make an address look like somebody else's.
const LOCAL = /^[^\s@"(),:;<>[\]\\.\p{Cc}\p{Cf}\p{DI}\u2800]+(\.[^\s@"(),:;<>[\]\\.\p{Cc}\p{Cf}\p{DI}\u2800]+)*$/u
const DOMAIN = /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/
const UNSAFE_IN_HOST = /[\s%/?#@:\\[\]]/
// The lower case of a Greek capital sigma depends on what follows it: ΑΣ@ and ας@ are one, and so is ασ@.
const FINAL_SIGMA = /ς/g

/** The one spelling of an address by which accounts are told apart. Throws Validation for what is no address of ours. */
export function canonicalEmail (email: string): string {
  const text = email.trim().normalize('NFKC')
  const at = text.lastIndexOf('@')
  const [local, host] = [fold(text.slice(0, at)), text.slice(at + 1)]
  // domainToASCII is a URL parser underneath and would decode or cut what has a meaning there.
  const domain = UNSAFE_IN_HOST.test(host) ? '' : domainToASCII(host)
  const canonical = `${local}@${domain}`
  if (at < 1 || !LOCAL.test(local) || Buffer.byteLength(local) > MAX_LOCAL_BYTES || !DOMAIN.test(domain) || Buffer.byteLength(canonical) > MAX_BYTES) {
    throw refusal(new Validation(), { errors: [{ pointer: '/email', code: 'email', message: 'must be an e-mail address' }] })
  }
  return canonical
}

const fold = (text: string) => text.toLowerCase().replace(FINAL_SIGMA, 'σ').normalize('NFKC')

export const localPartOf = (canonical: string) => canonical.slice(0, canonical.lastIndexOf('@'))
