// Asks the service. Every fault becomes an ApiError whose message a person can read.

export class ApiError extends Error {
  constructor(message, { status = 0, code = "", request = "", retryAfter = 0 } = {}) {
    super(message[0].toUpperCase() + message.slice(1));
    Object.assign(this, { status, code, request, retryAfter });
  }
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The service cannot be reached. Is it still running?", { code: "unreachable" });
  }
  const text = await response.text();
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    // a proxy's own page, say; judged by its status below
  }
  if (response.ok && answer !== null) return answer;
  const error = answer?.error ?? {};
  throw new ApiError(error.message || `The service answered with status ${response.status}.`, {
    status: response.status,
    code: error.code ?? "",
    request: error.request_id ?? response.headers.get("X-Request-Id") ?? "",
    retryAfter: Number.parseFloat(response.headers.get("Retry-After")) || 0,
  });
}

const json = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const info = () => ask("/info");

export const item = (id, signal) => ask(`/items/${encodeURIComponent(id)}`, { signal });

/** The items that fit; a picture travels as a form beside the same JSON. */
export function search(body, blob, signal) {
  if (!blob) return ask("/search", { ...json(body), signal });
  const form = new FormData();
  form.set("query", JSON.stringify(body));
  form.set("image", blob, "picture.jpg");
  return ask("/search", { method: "POST", body: form, signal });
}

export function facets(where, arm, signal) {
  const query = new URLSearchParams(where.map((clause) => ["where", clause]));
  if (arm === "candidate") query.set("arm", arm);
  return ask(`/facets?${query}`, { signal });
}

export const tags = (id, signal) => ask("/tags", { ...json({ item: id }), signal });
