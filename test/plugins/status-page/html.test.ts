import { test } from 'tap'
import { html, Markup, verbatim } from '../../../plugins/status-page/html.ts'

test('values become text, wherever they stand', async (t) => {
  const hostile = '<script>alert("x")</script> & \'quoted\''
  const text = '&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;quoted&#39;'
  t.equal(String(html`<p title="${hostile}">${hostile}</p>`), `<p title="${text}">${text}</p>`)
  t.equal(String(html`${[hostile, [hostile]]}`), text + text)
  t.equal(String(html`<p>${html`<b>${hostile}</b>`}</p>`), `<p><b>${text}</b></p>`, 'once')
})

test('markup stays, and nothing is nothing', async (t) => {
  t.equal(String(html`${new Markup('<hr>')}${undefined}${''}${0}${[]}`), '<hr>0')
})

test('a file is taken as a parser would see it, wherever it was checked out', async (t) => {
  t.equal(String(html`${verbatim('a > b\r\n{}\r\n')}`), 'a > b\n{}\n')
})
