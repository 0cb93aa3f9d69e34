import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import { createDestination } from '../../plugins/logging/destination.ts'
import { eventually } from '../eventually.ts'

const LINE = `${'x'.repeat(99)}\n`

function open (t: Test) {
  const file = join(t.testdir({}), 'log')
  return { destination: createDestination(openSync(file, 'w')), written: () => readFileSync(file, 'utf8') }
}

test('lines are written together: when they are many, or soon', async (t) => {
  const { destination, written } = open(t)
  for (let i = 0; i < 327; i++) destination.write(LINE)
  t.equal(written(), '')
  destination.write(LINE)
  t.equal(written(), LINE.repeat(328), 'at once, since it is 32 kB')
  destination.write('the last one\n')
  t.equal(written(), LINE.repeat(328))
  await eventually(() => written() === `${LINE.repeat(328)}the last one\n`, 1000)
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
  const path = join(t.testdir({}), 'pipe')
  execFileSync('mkfifo', [path])
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  const destination = createDestination(fd)
  const lines = Array.from({ length: 2000 }, (_, i) => `${i} ${LINE}`)
  for (const line of lines) destination.write(line)
  destination.flushSync()

  let read = ''
  const piece = Buffer.alloc(65_536)
  await eventually(() => {
    try {
      for (;;) read += piece.toString('utf8', 0, readSync(fd, piece))
    } catch (error) {
      t.equal((error as NodeJS.ErrnoException).code, 'EAGAIN', 'all that is there is read')
    }
    return read.length === lines.join('').length
  })
  t.equal(read, lines.join(''))
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
