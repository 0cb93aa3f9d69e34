import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
let common: Set<string> | undefined

/** Whether a password is among those that everybody has. The list is unpacked at the first question, so that no start waits for it. */
export function isCommon (password: string) {
  common ??= unpacked()
  return common.has(password)
}

function unpacked () {
  const { dictionary }: typeof import('@zxcvbn-ts/language-common') = require('@zxcvbn-ts/language-common')
  return new Set(dictionary['passwords-common'])
}
