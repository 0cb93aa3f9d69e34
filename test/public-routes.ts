/** Who needs no access token; every other route has to refuse who has none. */
export const PUBLIC = new Set([
  'GET /health', 'GET /ready', 'GET /status', 'GET /api', 'GET /.well-known/jwks.json',
  'POST /auth/register', 'POST /auth/login', 'POST /auth/refresh',
  'GET /docs', 'GET /docs/*'
].flatMap((route) => route.startsWith('GET') ? [route, route.replace('GET', 'HEAD')] : [route]))
