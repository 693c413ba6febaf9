"use strict";

// Light or dark: the system's choice until the button is used.
(() => {
  const root = document.documentElement, button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  system.addEventListener("change", name);
  name();
})();

// The labelled cloud: discs that face as the surface does, around which the camera orbits. z is up.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const viewer = document.getElementById("viewer");
  const find = (selector) => viewer.querySelector(selector);
  const canvas = find("canvas");
  const gl = data.count && canvas.getContext("webgl", { antialias: true, preserveDrawingBuffer: true });
  if (!gl) {
    canvas.hidden = true;
    find(".still").hidden = false;
    find(".hint").textContent = data.count ? "This browser draws no WebGL: a picture in place of the 3D view." : "The map is empty.";
    for (const control of find(".panel").querySelectorAll("input, button")) control.disabled = true;
  }

  const bytes = (text) => {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  };
  const arrays = {};
  for (const name in data.arrays) arrays[name] = bytes(data.arrays[name]);
  const path = new Float32Array(bytes(data.path).buffer);

  // ---- what is shown, and in which colours

  const UNJUDGED = 255;
  const classes = new Map(data.classes.map((entry) => [entry.id, { ...entry, shown: true }]));
  const ramp = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const along = (share) => {
    const at = share * (ramp.length - 1), i = Math.min(Math.floor(at), ramp.length - 2);
    return ramp[i].map((low, k) => low + (ramp[i + 1][k] - low) * (at - i));
  };
  const confidences = Array.from({ length: 256 }, (_, i) => along(i / 255));
  const judgements = { 0: [214, 76, 60], 1: [70, 160, 95], 255: [128, 134, 140] };
  const modes = {
    "Class": (i) => classes.get(arrays.label[i]).color,
    "Image": (i) => arrays.color.subarray(3 * i, 3 * i + 3),
    "Confidence": (i) => confidences[arrays.confidence[i]],
    "Right or wrong": (i) => judgements[arrays.judged[i]],
  };
  const keys = {
    "Confidence": [["0", along(0)], ["50 %", along(0.5)], ["100 %", along(1)]],
    "Right or wrong": [["right", judgements[1]], ["wrong", judgements[0]], ["no ground truth", judgements[UNJUDGED]]],
  };
  if (!data.colored) delete modes["Image"];
  if (!data.judged) delete modes["Right or wrong"];
  let mode = "Class";
  const colors = new Uint8Array(4 * data.count);
  const recolor = () => {
    const pick = modes[mode];
    let shown = 0;
    for (let i = 0; i < data.count; i++) {
      const visible = classes.get(arrays.label[i]).shown;
      colors.set(pick(i), 4 * i);
      colors[4 * i + 3] = visible ? 255 : 0;
      shown += visible;
    }
    const thinned = data.total > data.count ? ` (thinned from ${data.total.toLocaleString("en")})` : "";
    find(".count").textContent = `${shown.toLocaleString("en")} of ${data.count.toLocaleString("en")} points${thinned}`;
  };

  // ---- drawing

  const shader = (kind, source) => {
    const made = gl.createShader(kind);
    gl.shaderSource(made, source);
    gl.compileShader(made);
    if (!gl.getShaderParameter(made, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(made));
    return made;
  };
  const program = (vertex, fragment) => {
    const made = gl.createProgram();
    gl.attachShader(made, shader(gl.VERTEX_SHADER, vertex));
    gl.attachShader(made, shader(gl.FRAGMENT_SHADER, "precision mediump float;\n" + fragment));
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
    const uniforms = {};
    for (let i = 0; i < gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS); i++) {
      const name = gl.getActiveUniform(made, i).name;
      uniforms[name] = gl.getUniformLocation(made, name);
    }
    return { made, uniforms, at: (name) => gl.getAttribLocation(made, name) };
  };
  const buffer = (values) => {
    const made = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, made);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    return made;
  };
  const attribute = (shading, name, source, size, type, normalized) => {
    const at = shading.at(name);
    gl.bindBuffer(gl.ARRAY_BUFFER, source);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, size, type, normalized, 0, 0);
  };

  const FIELD_OF_VIEW = 0.75;
  const [innerLow, innerHigh] = data.inner; // all but stray points
  const radius = Math.max(Math.hypot(...innerHigh.map((high, i) => high - innerLow[i])) / 2, 0.1);
  const sample = []; // some of the points within
  const position = new Uint16Array(arrays.position.buffer);
  for (let i = 0; i < data.count; i += Math.max(1, Math.floor(data.count / 3000))) {
    const at = [0, 1, 2].map((k) => data.low[k] + (position[3 * i + k] / 65535) * data.extent[k]);
    if (at.every((value, k) => value >= innerLow[k] && value <= innerHigh[k])) sample.push(at);
  }
  let view;
  // From where the recording looked, raised, and so that the map fills the picture.
  const home = () => {
    const [x, y] = data.forward;
    const yaw = Math.hypot(x, y) > 0.05 ? Math.atan2(-y, -x) + 0.35 : 0.8;
    view = { target: innerLow.map((low, i) => (low + innerHigh[i]) / 2), yaw, pitch: 0.8, distance: 3 * radius };
    const { back, right, up } = axes(), wide = Math.max(canvas.clientWidth, 1) / Math.max(canvas.clientHeight, 1);
    const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    for (let step = 0; step < 8; step++) {
      let box = [Infinity, -Infinity, Infinity, -Infinity];
      for (const at of sample) {
        const from = at.map((value, i) => value - view.target[i]), depth = Math.max(view.distance - dot(from, back), 1e-3);
        const [u, v] = [dot(from, right) / depth, dot(from, up) / depth];
        box = [Math.min(box[0], u), Math.max(box[1], u), Math.min(box[2], v), Math.max(box[3], v)];
      }
      if (!sample.length) break;
      const [u, v] = [(box[0] + box[1]) / 2, (box[2] + box[3]) / 2];
      view.target = view.target.map((t, i) => t + view.distance * (u * right[i] + v * up[i]));
      const filled = Math.max((box[1] - box[0]) / wide, box[3] - box[2]) / (2 * Math.tan(FIELD_OF_VIEW / 2));
      view.distance = Math.max(view.distance * (filled / 0.86) ** 0.8, 0.2 * radius);
    }
  };
  const show = { path: true, back: false, cut: Infinity };
  let parts = null, waiting = false;

  const axes = () => {
    const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
    return { back: [cp * cy, cp * sy, sp], right: [-sy, cy, 0], up: [-sp * cy, -sp * sy, cp] };
  };
  const matrices = () => {
    const { back, right, up } = axes(), d = view.distance;
    const eye = view.target.map((t, i) => t + d * back[i]);
    const dot = (a) => -(a[0] * eye[0] + a[1] * eye[1] + a[2] * eye[2]);
    const world = new Float32Array([
      right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0, dot(right), dot(up), dot(back), 1,
    ]);
    const near = Math.max(d - 4 * radius, d * 0.02), far = d + 6 * radius;
    const f = 1 / Math.tan(FIELD_OF_VIEW / 2), aspect = canvas.width / canvas.height;
    const lens = new Float32Array([
      f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / (near - far), -1, 0, 0, (2 * far * near) / (near - far), 0,
    ]);
    return { world, lens, focal: (f * canvas.height) / 2 };
  };

  const prepare = () => {
    const points = program(
      `attribute vec3 position, normal; attribute vec4 color;
      uniform mat4 world, lens; uniform vec3 low, extent; uniform float size, cut; uniform bool back;
      varying vec3 shade, facing;
      void main() {
        vec3 place = low + position * extent;
        vec4 seen = world * vec4(place, 1.0);
        facing = normalize(mat3(world) * normal + vec3(0.0, 0.0, 1e-4));
        float towards = dot(facing, normalize(-seen.xyz));
        gl_Position = lens * seen;
        gl_PointSize = clamp(size / max(-seen.z, 1e-3), 1.5, 96.0);
        if (color.a < 0.5 || place.z > cut || (!back && towards < -0.02)) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
        if (facing.z < 0.0) facing = -facing;
        float light = 0.58 + 0.30 * abs(towards) + 0.16 * max(dot(facing, vec3(0.35, 0.76, 0.55)), 0.0);
        shade = color.rgb * light;
      }`,
      `varying vec3 shade, facing;
      void main() {
        vec2 at = vec2(gl_PointCoord.x, -gl_PointCoord.y) * 2.0 + vec2(-1.0, 1.0);
        float depth = dot(facing.xy, at) / max(facing.z, 0.3);
        if (dot(at, at) + depth * depth > 1.0) discard;
        gl_FragColor = vec4(shade, 1.0);
      }`,
    );
    const line = program(
      "attribute vec3 position; uniform mat4 world, lens; uniform float size;" +
      "void main() { gl_Position = lens * world * vec4(position, 1.0); gl_PointSize = size; }",
      "uniform vec3 color; void main() { gl_FragColor = vec4(color, 1.0); }",
    );
    parts = {
      points, line,
      position: buffer(position),
      normal: buffer(new Int8Array(arrays.normal.buffer)),
      color: buffer(colors),
      path: buffer(path),
    };
    gl.enable(gl.DEPTH_TEST);
    gl.clearColor(0, 0, 0, 0);
  };

  const draw = () => {
    waiting = false;
    const { world, lens, focal } = matrices(), { points, line } = parts;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.useProgram(points.made);
    gl.uniformMatrix4fv(points.uniforms.world, false, world);
    gl.uniformMatrix4fv(points.uniforms.lens, false, lens);
    gl.uniform3fv(points.uniforms.low, data.low);
    gl.uniform3fv(points.uniforms.extent, data.extent);
    gl.uniform1f(points.uniforms.size, 1.7 * data.spacing * focal);
    gl.uniform1f(points.uniforms.cut, Math.min(show.cut, 1e9));
    gl.uniform1i(points.uniforms.back, show.back ? 1 : 0);
    attribute(points, "position", parts.position, 3, gl.UNSIGNED_SHORT, true);
    attribute(points, "normal", parts.normal, 3, gl.BYTE, true);
    attribute(points, "color", parts.color, 4, gl.UNSIGNED_BYTE, true);
    gl.drawArrays(gl.POINTS, 0, data.count);
    if (show.path && path.length > 3) {
      for (const name of ["normal", "color"]) gl.disableVertexAttribArray(points.at(name));
      gl.useProgram(line.made);
      gl.uniformMatrix4fv(line.uniforms.world, false, world);
      gl.uniformMatrix4fv(line.uniforms.lens, false, lens);
      gl.uniform3f(line.uniforms.color, 0.93, 0.23, 0.42);
      attribute(line, "position", parts.path, 3, gl.FLOAT, false);
      gl.uniform1f(line.uniforms.size, canvas.height / 170);
      gl.drawArrays(gl.LINE_STRIP, 0, path.length / 3);
      gl.drawArrays(gl.POINTS, 0, path.length / 3);
    }
  };
  const redraw = () => {
    if (parts && !waiting) requestAnimationFrame(draw);
    waiting = Boolean(parts);
  };
  const upload = () => {
    recolor();
    if (parts) {
      gl.bindBuffer(gl.ARRAY_BUFFER, parts.color);
      gl.bufferData(gl.ARRAY_BUFFER, colors, gl.STATIC_DRAW);
    }
    redraw();
  };

  // ---- the panel

  const rgb = (color) => `rgb(${color.map(Math.round).join(" ")})`;
  const swatch = (color) => {
    const made = document.createElement("i");
    made.className = "swatch";
    made.style.background = rgb(color);
    return made;
  };
  const entryOf = (...content) => {
    const made = document.createElement("label");
    made.append(...content);
    return made;
  };
  const input = (type, name, checked) => Object.assign(document.createElement("input"), { type, name, checked });

  const key = document.createElement("div");
  for (const name in modes) {
    const choice = input("radio", "mode", name === mode);
    choice.addEventListener("change", () => {
      mode = name;
      key.replaceChildren(...(keys[mode] || []).map(([text, color]) => entryOf(swatch(color), text)));
      upload();
    });
    find(".modes").append(entryOf(choice, name));
  }
  find(".modes").append(key);
  const boxes = [...classes.values()].map((entry) => {
    const box = input("checkbox", "class", true);
    const share = document.createElement("small");
    share.textContent = `${((100 * entry.count) / data.total).toFixed(1)} %`;
    box.addEventListener("change", () => { entry.shown = box.checked; upload(); });
    find(".classes").append(entryOf(box, swatch(entry.color), entry.name, share));
    return { box, entry };
  });
  for (const [name, shown] of [["all", true], ["none", false]]) {
    find(`button[name=${name}]`).addEventListener("click", () => {
      for (const { box, entry } of boxes) box.checked = entry.shown = shown;
      upload();
    });
  }
  for (const name of ["path", "back"]) {
    find(`input[name=${name}]`).addEventListener("change", (event) => { show[name] = event.target.checked; redraw(); });
  }
  const cut = find("input[name=cut]");
  const cutAt = () => {
    const share = cut.value / cut.max, height = data.low[2] + share * data.extent[2];
    show.cut = share < 1 ? height : Infinity;
    find("output").textContent = share < 1 ? `${(height - data.low[2]).toFixed(2)} m` : "–";
    redraw();
  };
  cut.addEventListener("input", cutAt);
  find("button[name=reset]").addEventListener("click", () => { home(); redraw(); });
  cutAt();
  recolor();
  if (!gl) return;

  // ---- the camera

  const turn = (dx, dy) => {
    view.yaw -= dx;
    view.pitch = Math.min(1.55, Math.max(-1.55, view.pitch + dy));
    redraw();
  };
  const move = (dx, dy) => {
    const { right, up } = axes(), step = (2 * view.distance * Math.tan(FIELD_OF_VIEW / 2)) / canvas.clientHeight;
    view.target = view.target.map((t, i) => t - step * (dx * right[i] - dy * up[i]));
    redraw();
  };
  const zoom = (factor) => {
    view.distance = Math.min(12 * radius, Math.max(0.05 * radius, view.distance * factor));
    redraw();
  };
  const pointers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY], [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    if (pointers.size === 2) {
      const [, other] = [...pointers].find(([id]) => id !== event.pointerId);
      const apart = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]);
      zoom(apart(before) / Math.max(apart(now), 1));
      move(dx / 2, dy / 2);
    } else if (event.buttons & 6 || event.shiftKey) {
      move(dx, dy);
    } else {
      turn(dx * 0.008, dy * 0.008);
    }
    pointers.set(event.pointerId, now);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return; // the page scrolls
    event.preventDefault();
    zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.003));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (arrow && event.shiftKey) move(-30 * arrow[0], -30 * arrow[1]);
    else if (arrow) turn(0.1 * arrow[0], 0.1 * arrow[1]);
    else if (event.key === "+" || event.key === "=") zoom(0.85);
    else if (event.key === "-") zoom(1 / 0.85);
    else if (event.key === "0" || event.key === "Home") { home(); redraw(); }
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("webglcontextlost", () => {
    parts = null;
    find(".hint").textContent = "The graphics driver gave up: reload the page.";
  });

  const fit = () => {
    const scale = Math.min(devicePixelRatio || 1, 2);
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
    if (parts) draw();
  };
  prepare();
  home();
  fit();
  new ResizeObserver(fit).observe(canvas);
})();
