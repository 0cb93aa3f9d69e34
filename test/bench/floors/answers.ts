/** As long as those of the service. */
export const USER = {
  id: '01936f5e-7c1d-7f3a-8b2e-5d4c3b2a1908',
  email: 'user-00001@example.com',
  displayName: null,
  createdAt: '2026-11-26T08:00:00.000Z',
  updatedAt: '2026-11-26T08:00:00.000Z'
}

export const PAIR = {
  accessToken: 'x'.repeat(420),
  expiresIn: 900,
  refreshToken: 'x'.repeat(95),
  tokenType: 'Bearer',
  refreshExpiresIn: 604_800
}
