// GRPO's completions, group by group: what was rewarded, and which way each was pushed.

{
  const section = document.getElementById('groups');
  const { steps, left_out: leftOut } = data.rollouts || { steps: [] };
  const settings = { step: null, ...chosen.groups };
  const bar = element('div', { class: 'stepper' });
  const groups = element('div', {});

  function set(step) {
    choose('groups', Object.assign(settings, { step }));
    draw();
  }

  function rewards(completion) {
    const parts = Object.entries(completion.rewards).map(([name, value]) => `${words(name)} ${number(value)}`);
    return parts.length > 1 ? ` (${parts.join(', ')})` : '';
  }

  function completionBox(completion, most) {
    const share = most ? Math.abs(completion.advantage) / most : 0;
    const meter = drawn('svg', { class: `push ${completion.advantage < 0 ? 'wrong' : 'right'}`, viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': true },
      drawn('rect', { x: completion.advantage < 0 ? 50 - 50 * share : 50, y: 0, width: 50 * share, height: 6 }),
      drawn('line', { x1: 50, x2: 50, y1: 0, y2: 6 }));
    const sign = completion.advantage > 0 ? '+' : '';
    return element('article', { class: 'rollout' },
      element('p', { class: 'when' }, element('span', {}, 'reward ', element('b', {}, number(completion.reward)), rewards(completion)), element('span', {}, `advantage ${sign}${number(completion.advantage)}`)),
      meter,
      element('div', { class: 'completion', dir: 'auto', tabindex: 0 }, said(completion.text)));
  }

  function draw() {
    const found = steps.findIndex((step) => step.step === settings.step);
    const index = found === -1 ? steps.length - 1 : found;
    const go = (to) => set(steps[Math.min(steps.length - 1, Math.max(0, to))].step);
    const slider = element('input', { type: 'range', min: 0, max: steps.length - 1, value: index, 'aria-label': 'Step', onchange: () => go(Number(slider.value)) });
    bar.replaceChildren(
      button('‹', false, () => go(index - 1), { 'aria-label': 'Earlier step', 'aria-pressed': null, disabled: index === 0 }),
      slider,
      button('›', false, () => go(index + 1), { 'aria-label': 'Later step', 'aria-pressed': null, disabled: index === steps.length - 1 }),
      element('b', {}, `step ${steps[index].step}`),
    );
    groups.replaceChildren(...steps[index].groups.map((group) => {
      const ordered = [...group.completions].sort((a, b) => b.advantage - a.advantage);
      const most = Math.max(...ordered.map((completion) => Math.abs(completion.advantage)));
      const mean = ordered.reduce((sum, completion) => sum + completion.reward, 0) / ordered.length;
      const flat = most < 1e-6 ? ' All rewards are alike, so this group teaches nothing.' : '';
      return element('article', { class: 'sample' },
        element('h3', { dir: 'auto' }, group.prompt),
        element('small', {}, `${ordered.length} completions, mean reward ${number(mean)}.${flat}`),
        element('div', { class: 'rollouts' }, ordered.map((completion) => completionBox(completion, most))));
    }));
  }

  if (section && steps.length) {
    section.hidden = false;
    section.append(bar, groups);
    if (leftOut) section.append(element('p', { class: 'note' }, leftOut));
    draw();
  }
}
