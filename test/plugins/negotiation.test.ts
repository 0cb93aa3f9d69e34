import { test } from 'tap'
import { preferred } from '../../plugins/negotiation.ts'

const JSON_TYPE = 'application/json'
const HTML = 'text/html'

test('the type that is liked best is chosen, the first among equals', async (t) => {
  const table: [accept: string | undefined, chosen: string][] = [
    [undefined, JSON_TYPE],
    ['', JSON_TYPE],
    ['*/*', JSON_TYPE],
    [HTML, HTML],
    [JSON_TYPE, JSON_TYPE],
    ['TEXT/HTML', HTML],
    ['text/*', HTML],
    ['text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8', HTML],
    ['application/json, text/plain, */*', JSON_TYPE],
    ['text/html, application/json', JSON_TYPE],
    ['text/html;q=0.9, application/json;q=0.8', HTML],
    ['text/html;q=0.8, application/json;q=0.9', JSON_TYPE],
    ['application/json;q=0.5, text/html ; Q=0.501', HTML],
    ['text/html;charset=utf-8;q=1, application/json;q=0.999', HTML],
    ['text/html;q=0', JSON_TYPE],
    ['text/html;q=0, */*;q=0.1', JSON_TYPE],
    ['application/json;q=0, */*;q=0.1', HTML],
    ['text/*;q=0.9, text/html;q=0.1, application/json;q=0.5', JSON_TYPE],
    ['*/*;q=0.9, application/*;q=0.1', HTML],
    ['image/png', JSON_TYPE]
  ]
  for (const [accept, chosen] of table) t.equal(preferred(accept, [JSON_TYPE, HTML]), chosen, String(accept))
})

test('what is no quality counts as none, and no text is too strange', async (t) => {
  for (const quality of ['2', '-1', '1.1', '0.1234', 'x', '', '1e0', ' 1', 'NaN']) t.equal(preferred(`text/html;q=${quality}, */*;q=0.1`, [JSON_TYPE, HTML]), JSON_TYPE, quality)
  for (const accept of [',,;;==', ';q=1', '/', 'text', '__proto__', ';'.repeat(16_000), ','.repeat(16_000), 'q=1,'.repeat(4000)]) t.equal(preferred(accept, [JSON_TYPE, HTML]), JSON_TYPE)
})
