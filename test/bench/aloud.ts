/** Tells why the work failed, since the reporter of these runs keeps the words of tap to itself. */
export const aloud = (work: Promise<void>) => work.catch((error: Error) => {
  process.stderr.write(`\n${error.message}\n`)
  throw error
})
