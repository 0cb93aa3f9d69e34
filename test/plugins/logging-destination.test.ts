import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import { createDestination } from '../../plugins/logging/destination.ts'
import { eventually } from '../eventually.ts'

const MOST_UNWRITTEN = 1_048_576
const LINE = `${'x'.repeat(99)}\n`

function open (t: Test) {
  const file = join(t.testdir({}), 'log')
  return { destination: createDestination(openSync(file, 'w')), written: () => readFileSync(file, 'utf8') }
}

/** One that holds no more until it is read. */
function pipe (t: Test) {
  const path = join(t.testdir({}), 'pipe')
  execFileSync('mkfifo', [path])
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  const piece = Buffer.alloc(65_536)
  let read = ''
  return { fd, destination: createDestination(fd), readAll }

  function readAll () {
    try {
      for (;;) read += piece.toString('utf8', 0, readSync(fd, piece))
    } catch (error) {
      t.equal((error as NodeJS.ErrnoException).code, 'EAGAIN', 'all that is there is read')
    }
    return read
  }
}

test('lines are written together: when they are many, or soon', async (t) => {
  const { destination, written } = open(t)
  for (let i = 0; i < 163; i++) destination.write(LINE)
  t.equal(written(), '')
  destination.write(LINE)
  t.equal(written(), LINE.repeat(164), 'at once, since it is 16 kB')
  destination.write('the last one\n')
  t.equal(written(), LINE.repeat(164))
  await eventually(() => written() === `${LINE.repeat(164)}the last one\n`, 1000)
})

test('what waits is written when it has to be, as at the end of the process, and only once', async (t) => {
  const { destination, written } = open(t)
  destination.flushSync()
  destination.write('höflich\n')
  destination.flushSync()
  destination.flushSync()
  t.equal(written(), 'höflich\n')
})

test('a pipe that nobody reads holds up nobody, and gets all of it when somebody does', async (t) => {
  const { fd, destination, readAll } = pipe(t)
  const lines = Array.from({ length: 2000 }, (_, i) => `${i} ${LINE}`).join('')
  for (const line of lines.split(/(?<=\n)/)) destination.write(line)
  destination.flushSync()
  await eventually(() => readAll().length === lines.length)
  t.equal(readAll(), lines)
  closeSync(fd)
})

test('when it gets a mebibyte late, what comes after that is lost, and nothing of what comes then', async (t) => {
  const { fd, destination, readAll } = pipe(t)
  for (let i = 0; i < 15_000; i++) destination.write(LINE)
  // One after another, so that there is less room left than for one.
  for (let i = 0; i < 1000; i++) {
    destination.write(LINE)
    destination.flushSync()
  }
  const last = `somebody reads ${LINE}`
  await eventually(() => {
    destination.write(last)
    return readAll().endsWith(last)
  })
  t.ok(readAll().length > MOST_UNWRITTEN, `${readAll().length} bytes`)
  closeSync(fd)
})

test('a pipe whose reader goes is written to again when there is another one', async (t) => {
  const path = join(t.testdir({}), 'pipe')
  execFileSync('mkfifo', [path])
  const open = () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const first = open()
  const destination = createDestination(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK))
  closeSync(first)
  destination.write('nobody reads this yet\n')
  destination.flushSync()
  const second = open()
  t.teardown(() => closeSync(second))
  destination.write('and this\n')

  let read = ''
  const piece = Buffer.alloc(1024)
  await eventually(() => {
    try {
      read += piece.toString('utf8', 0, readSync(second, piece))
    } catch (error) {
      t.equal((error as NodeJS.ErrnoException).code, 'EAGAIN')
    }
    return read.includes('and this')
  })
  t.equal(read, 'nobody reads this yet\nand this\n')
})

test('what cannot be written, as on a full disk, harms nobody', async (t) => {
  const destination = createDestination(openSync('/dev/full', 'w'))
  t.doesNotThrow(() => {
    for (let i = 0; i < 20_000; i++) destination.write(LINE)
    destination.flushSync()
  })
})
