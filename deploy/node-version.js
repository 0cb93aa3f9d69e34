// Preloaded, and JavaScript, so that a Node.js that cannot run TypeScript says so in one sentence.
const OLDEST = [22, 19]

export function refuseOldNode (version, refuse) {
  const [major, minor] = version.split('.').map(Number)
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return
  refuse(`microts needs Node.js ${OLDEST.join('.')} or newer, and this is ${version}: install the LTS version of Node.js`)
}

refuseOldNode(process.versions.node, (sentence) => {
  process.stderr.write(`${sentence}\n`)
  process.exit(1)
})
