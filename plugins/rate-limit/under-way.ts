import type { Slot } from './sliding-log.ts'

/** Whose slots may come back before their window has passed, since what they were taken for is under way in this process. */
export function createUnderWay () {
  const counts = new Map<string, number>()

  return {
    has: (slot: Slot) => counts.has(subjectOf(slot)),

    begin () {
      const slots: Slot[] = []
      return {
        add (slot: Slot) {
          slots.push(slot)
          count(slot, 1)
        },

        end () {
          for (const slot of slots) count(slot, -1)
        }
      }
    }
  }

  function count (slot: Slot, change: 1 | -1) {
    const subject = subjectOf(slot)
    const sum = (counts.get(subject) ?? 0) + change
    if (sum > 0) counts.set(subject, sum)
    else counts.delete(subject)
  }
}

const subjectOf = ({ dimension, value }: Slot) => `${dimension} ${value}`
