import { readFileSync } from 'node:fs'

/** Of the CPU time that is wanted from now until it is asked, the share that other machines on the same host got (steal): 0 to 1. */
export function watchStolen () {
  const before = cpuTimes()
  return () => {
    const { wanted, stolen } = cpuTimes()
    return (stolen - before.stolen) / Math.max(1, wanted - before.wanted)
  }
}

/** Of all cores since the start, in ticks; proc_stat(5). */
function cpuTimes () {
  const [user = 0, nice = 0, system = 0, , , interrupts = 0, softInterrupts = 0, stolen = 0] = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]!.split(/ +/).slice(1).map(Number)
  return { wanted: user + nice + system + interrupts + softInterrupts + stolen, stolen }
}
