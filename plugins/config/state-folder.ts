import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'

/** The folder of this user for what stays from one start to the next; root's is one that others may enter, since PostgreSQL refuses root. */
export function stateFolder (env: Record<string, string | undefined>, uid = process.geteuid?.(), platform: string = process.platform): string {
  if (uid === 0) return '/var/lib/microts'
  if (platform === 'win32') return join(env.LOCALAPPDATA ?? homedir(), 'microts')
  if (platform === 'darwin') return join(homedir(), 'Library', 'Application Support', 'microts')
  const state = env.XDG_STATE_HOME ?? ''
  return join(isAbsolute(state) ? state : join(homedir(), '.local', 'state'), 'microts')
}
