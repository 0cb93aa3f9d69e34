// Asks for the page again and takes over what has changed. While nobody looks it rests; what cannot be brought up to date is not shown as if it were.
(() => {
  const { document, DOMParser, fetch, location } = window
  const PATIENCE_MS = 10_000
  const root = document.documentElement
  const notice = document.getElementById('notice')
  const pause = document.getElementById('pause')
  let timer
  let isPaused = false
  let isAsking = false

  pause.hidden = false
  pause.addEventListener('click', toggle)
  document.addEventListener('visibilitychange', () => document.hidden ? wait() : update())
  wait()

  function wait () {
    clearTimeout(timer)
    if (!document.hidden) timer = setTimeout(update, root.dataset.every * 1000)
  }

  function toggle () {
    isPaused = !isPaused
    pause.textContent = isPaused ? 'Resume updates' : 'Pause updates'
    update()
  }

  async function update () {
    if (isAsking || isPaused) return
    isAsking = true
    try {
      show(await ask())
      tell('')
    } catch {
      tell(`No good answer from the service: this is how it was at ${shown('updated').querySelector('time').textContent}. It is asked again every ${root.dataset.every} s.`)
    }
    isAsking = false
    wait()
  }

  async function ask () {
    const response = await fetch(location.href, { headers: { accept: 'text/html' }, cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) })
    const fresh = new DOMParser().parseFromString(await response.text(), 'text/html')
    if (!response.ok || !fresh.documentElement.dataset.build) throw new Error('this is not the page')
    return fresh
  }

  function show (fresh) {
    // Another version, with another look.
    if (fresh.documentElement.dataset.build !== root.dataset.build) location.reload()
    document.title = fresh.title
    document.querySelector('link[rel=icon]').href = fresh.querySelector('link[rel=icon]').href
    for (const part of fresh.querySelectorAll('[data-part]')) {
      const old = shown(part.dataset.part)
      if (old.innerHTML !== part.innerHTML) old.replaceChildren(...part.childNodes)
    }
  }

  function shown (part) {
    return document.querySelector(`[data-part=${part}]`)
  }

  function tell (trouble) {
    if (notice.textContent !== trouble) notice.textContent = trouble
    root.classList.toggle('stale', trouble !== '')
    if (trouble === '') return
    document.title = document.title.replace(/^(No answer · )?/, 'No answer · ')
    document.querySelector('link[rel=icon]').href = 'data:,'
  }
})()
