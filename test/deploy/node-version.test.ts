import { test } from 'tap'
import { refuseOldNode } from '../../deploy/node-version.js'

test('a Node.js that cannot run TypeScript is refused in one sentence', async (t) => {
  for (const version of ['18.20.8', '20.20.2', '22.18.0']) {
    const sentences: string[] = []
    refuseOldNode(version, (sentence: string) => { sentences.push(sentence) })
    t.same(sentences, [`microts needs Node.js 22.19 or newer, and this is ${version}: install the LTS version of Node.js`])
  }
  for (const version of ['22.19.0', '22.20.1', '24.0.0', '26.10.0']) refuseOldNode(version, () => t.fail(version))
})
