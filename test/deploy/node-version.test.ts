import { test } from 'tap'
import { refuseOldNode } from '../../deploy/node-version.js'
import { preload, run } from '../processes.ts'

test('a Node.js that cannot run TypeScript is refused in one sentence', async (t) => {
  for (const version of ['18.20.8', '20.20.2', '22.18.0']) {
    const sentences: string[] = []
    refuseOldNode(version, (sentence: string) => { sentences.push(sentence) })
    t.same(sentences, [`microts needs Node.js 22.19 or newer, and this is ${version}: install the LTS version of Node.js`])
  }
  for (const version of ['22.19.0', '22.20.1', '24.0.0', '26.10.0']) refuseOldNode(version, () => t.fail(version))
})

test('a start with an old Node.js ends with that sentence', async (t) => {
  const old = preload("Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } })")
  t.match(await run(t, 'deploy/node-version.js', [], {}, old), { code: 1, stdout: '', stderr: /^microts needs Node\.js 22\.19 or newer, and this is 20\.20\.2: [^\n]+\n$/ })
})
