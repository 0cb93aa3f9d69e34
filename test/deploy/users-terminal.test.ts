import { test } from 'tap'
import { eventually } from '../eventually.ts'
import { build, post, settings, signUp, sql } from '../helper.ts'
import { preload, start } from '../processes.ts'
import type { Test } from 'tap'

const NEW_PASSWORD = 'another battery staple'
const NOTHING = 'Nothing is changed\n'

/** Has standard input pass for a terminal, and tell when it stops and starts showing what is typed. */
const IN_A_TERMINAL = preload(`
  Object.assign(process.stdin, { isTTY: true, setRawMode (isRaw) { process.stderr.write(isRaw ? '<hidden>' : '<shown>') } })`)

/** Types an answer to each question, as a person would: when it is asked, and with a slip of the finger. */
async function typed (t: Test, args: string[], ...answers: [question: string, answer: string][]) {
  const command = start(t, 'deploy/users.ts', args, settings, IN_A_TERMINAL)
  for (const [question, answer] of answers) {
    await eventually(() => command.stderr.includes(question), 30_000)
    command.child.stdin.write(answer)
  }
  return command.ended
}

test('in a terminal set-password asks twice and shows nothing of what is typed', async (t) => {
  const app = await build(t)
  const { email, headers } = await signUp(app)
  const first = `New password of ${email}: `
  for (const [second, sentence] of [['something else\r', 'The two differ: nothing is changed\n'], ['\x03', NOTHING], ['\x04', NOTHING]] as const) {
    const { code, stdout, stderr } = await typed(t, ['set-password', email], [first, `${NEW_PASSWORD}\r`], ['Once more: ', second])
    t.same([code, stdout, stderr], [1, '', `<hidden>${first}<shown>\n<hidden>Once more: <shown>\n${sentence}`])
  }
  t.equal((await app.inject({ url: '/me', headers })).statusCode, 200)

  const { code, stdout, stderr } = await typed(t, ['set-password', email], [first, `${NEW_PASSWORD}x\x7f\r`], ['Once more: ', `${NEW_PASSWORD}\r`])
  t.same([code, stdout, stderr], [0, `${email} has the new password, and its sessions have ended\n`, `<hidden>${first}<shown>\n<hidden>Once more: <shown>\n`])
  t.equal((await post(app, '/auth/login', { email, password: NEW_PASSWORD })).statusCode, 200)
})

test('in a terminal delete asks, and only a yes is one', async (t) => {
  const app = await build(t)
  const { email, user } = await signUp(app)
  const question = `Delete ${email} and all that belongs to it? Type yes: `
  for (const answer of ['y\r', '\x03']) t.match(await typed(t, ['delete', email], [question, answer]), { code: 1, stdout: '', stderr: new RegExp(`${NOTHING}$`) })
  t.equal((await sql('select from users where id = $1', [user.id])).length, 1)
  t.match(await typed(t, ['delete', email], [question, 'yes\r']), { code: 0, stdout: `${email} is deleted\n` })
  t.same(await sql('select from users where id = $1', [user.id]), [])
})
