// Drawing on a canvas with a mouse, a finger, a pen, or the keyboard.

// In pixels of the canvas.
const WIDTH = 24;
const STEP = 10;
const SMALL_STEP = 2;
const ARROWS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/**
 * @param canvas Its pixels are transparent where there is no ink.
 * @param pen An element over the canvas that shows where the keyboard's pen is.
 * @param changed Called after each change of the drawing.
 * @param say Called with what a screen reader should say about the pen.
 */
export function createPad(canvas, pen, changed, say) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  // Lists of points; each drawn without lifting the pen.
  let strokes = [];
  let pointer = null;
  const keyboard = { x: canvas.width / 2, y: canvas.height / 2, down: false };

  function draw() {
    const ink = getComputedStyle(canvas).color;
    context.clearRect(0, 0, canvas.width, canvas.height);
    Object.assign(context, {
      strokeStyle: ink,
      fillStyle: ink,
      lineWidth: WIDTH,
      lineCap: "round",
      lineJoin: "round",
    });
    for (const [first, ...rest] of strokes) {
      context.beginPath();
      if (rest.length) {
        context.moveTo(...first);
        rest.forEach((point) => context.lineTo(...point));
        context.stroke();
      } else {
        context.arc(...first, WIDTH / 2, 0, 2 * Math.PI);
        context.fill();
      }
    }
    changed();
  }

  // === Mouse, finger, pen ===

  function position(event) {
    const box = canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * canvas.width,
      ((event.clientY - box.top) / box.height) * canvas.height,
    ];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    lift();
    strokes.push([position(event)]);
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    // Safari has none before 18.2.
    const events = event.getCoalescedEvents?.() ?? [];
    strokes.at(-1).push(...(events.length ? events : [event]).map(position));
    draw();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      if (event.pointerId === pointer) pointer = null;
    });
  }

  // === Keyboard ===

  function lift() {
    keyboard.down = false;
    pen.classList.remove("down");
  }

  function place() {
    pen.style.left = `${(100 * keyboard.x) / canvas.width}%`;
    pen.style.top = `${(100 * keyboard.y) / canvas.height}%`;
  }

  function move([x, y], step) {
    const within = (value, size) => Math.min(Math.max(value, 0), size);
    keyboard.x = within(keyboard.x + x * step, canvas.width);
    keyboard.y = within(keyboard.y + y * step, canvas.height);
    place();
    if (!keyboard.down) return;
    strokes.at(-1).push([keyboard.x, keyboard.y]);
    draw();
  }

  function toggle() {
    keyboard.down = !keyboard.down;
    pen.classList.toggle("down", keyboard.down);
    say(keyboard.down ? "Pen down" : "Pen up");
    if (!keyboard.down) return;
    strokes.push([[keyboard.x, keyboard.y]]);
    draw();
  }

  canvas.addEventListener("keydown", (event) => {
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key.toLowerCase() === "z") undo();
    else if (command || event.altKey || pointer !== null) return;
    else if (event.key in ARROWS) {
      move(ARROWS[event.key], event.shiftKey ? SMALL_STEP : STEP);
    } else if (event.key === " ") {
      if (!event.repeat) toggle();
    } else if (event.key === "Delete" || event.key === "Backspace") clear();
    else return;
    event.preventDefault();
    pen.hidden = false;
  });
  canvas.addEventListener("focus", () => {
    pen.hidden = !canvas.matches(":focus-visible");
    place();
  });
  canvas.addEventListener("blur", () => {
    lift();
    pen.hidden = true;
  });

  // === Both ===

  /** Ends the stroke that is being drawn. */
  function end() {
    pointer = null;
    lift();
  }

  function undo() {
    end();
    if (strokes.length) say("Stroke undone");
    strokes.pop();
    draw();
  }

  function clear() {
    end();
    if (strokes.length) say("Cleared");
    strokes = [];
    draw();
  }

  /** @returns {Float32Array} Row by row; 0 is paper and 1 ink. */
  function coverage() {
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    return Float32Array.from(
      { length: canvas.width * canvas.height },
      (_, i) => data[4 * i + 3] / 255,
    );
  }

  // The ink has another colour then.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  return { undo, clear, coverage };
}
