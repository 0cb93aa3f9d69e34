/** The middle of a sample; of an even one the upper of the two. */
export function median (sample: number[]) {
  return sample.toSorted((a, b) => a - b)[Math.floor(sample.length / 2)]!
}

/**
 * The chance that a time of `these` is longer than one of `those`: the area under the curve of whoever tells them apart by a threshold.
 * 0.5 is guessing, 0 and 1 are certainty (Mann-Whitney U by ranks; ties count half).
 */
export function areaUnderCurve (these: number[], those: number[]) {
  const all = [...these.map((time) => ({ time, isThese: true })), ...those.map((time) => ({ time, isThese: false }))].sort((a, b) => a.time - b.time)
  let rankSum = 0
  for (let start = 0, end = 0; start < all.length; start = end) {
    while (end < all.length && all[end]!.time === all[start]!.time) end++
    const rank = (start + 1 + end) / 2
    rankSum += rank * all.slice(start, end).filter(({ isThese }) => isThese).length
  }
  return (rankSum - these.length * (these.length + 1) / 2) / (these.length * those.length)
}
