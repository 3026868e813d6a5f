// A page of a run that trains loads itself anew, and comes back to what the reader was looking at.

{
  const line = document.getElementById('state');
  const age = () => Math.max(0, (Date.now() - Date.parse(data.written)) / 1000);
  const ago = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`);
  const lost = () => age() > Math.max(120, 5 * data.every);

  function say() {
    if (data.state === 'training') {
      line.textContent = lost() ? `No news for ${ago(age())}: the run may have been killed, or an evaluation takes long.` : `Training; written ${ago(age())} ago. The page keeps up by itself.`;
      line.className = lost() ? 'state lost' : 'state live';
    } else if (data.state === 'interrupted') {
      line.textContent = 'Interrupted: the same command continues.';
      line.className = 'state lost';
    }
    line.hidden = !line.textContent;
  }

  for (const details of document.querySelectorAll('details[id]')) {
    if (chosen[details.id]) details.open = true;
    details.addEventListener('toggle', () => choose(details.id, details.open));
  }
  say();
  if (data.state === 'training') {
    history.scrollRestoration = 'manual';
    if (chosen.scroll) {
      scrollTo(0, chosen.scroll.top);
      const list = document.querySelector('.list');
      if (list) list.scrollTop = chosen.scroll.list;
    }
    const busy = () => document.hidden || !getSelection().isCollapsed || document.getElementById('large').open || document.activeElement?.type === 'search';
    const next = Math.max(3, data.every) * 1000;
    let due = Date.now() + next;
    setInterval(() => {
      say();
      if (Date.now() < due || busy()) return;
      due = Date.now() + next;
      choose('scroll', { top: scrollY, list: document.querySelector('.list')?.scrollTop || 0 });
      location.reload();
    }, 1000);
  }
}
