type Answer = { status: number, body: Record<string, any> }
type Question = { body?: object, token?: string }

/** What a server on this machine answers; 0 where there is none yet. */
export async function ask (port: number, path: string, { body, token }: Question = {}): Promise<Answer> {
  const headers = { ...body && { 'content-type': 'application/json' }, ...token && { authorization: `Bearer ${token}` } }
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) }).catch(() => undefined)
  if (!response) return { status: 0, body: {} }
  const text = await response.text()
  return { status: response.status, body: response.headers.get('content-type')?.includes('json') ? JSON.parse(text) : { text } }
}
