export type User = { id: string, email: string, displayName: string | null, createdAt: string, updatedAt: string }
export type UserRow = Omit<User, 'createdAt' | 'updatedAt'> & { createdAt: Date, updatedAt: Date }

export const COLUMNS = 'id, email, display_name as "displayName", created_at as "createdAt", updated_at as "updatedAt"'

export function toUser ({ id, email, displayName, createdAt, updatedAt }: UserRow): User {
  return { id, email, displayName, createdAt: createdAt.toISOString(), updatedAt: updatedAt.toISOString() }
}
