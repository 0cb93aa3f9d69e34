import type { Redis } from 'ioredis'

/** Has all commands of one turn of the event loop leave in one write: a system call for each takes longer than what Redis does for it. */
export function batchWrites (client: Redis) {
  const send = client.sendCommand.bind(client)
  let corked: Redis['stream'] | undefined

  client.sendCommand = (command, pipeline) => {
    if (!pipeline) cork()
    const sent = send(command, pipeline)
    // What a cluster says before a command that it was redirected with; nobody waits for it, and the command tells what is wrong.
    if (command.name === 'asking') command.promise.catch(() => {})
    return sent
  }

  function cork () {
    const { stream } = client
    if (!stream?.writable || stream === corked) return
    corked = stream
    stream.cork()
    setImmediate(() => {
      if (corked === stream) corked = undefined
      stream.uncork()
    })
  }
}
