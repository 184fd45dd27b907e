#!/usr/bin/env bash
# fastapi 0.165.0: a score that is nan is an error 500, or null with status 200, by whether the route says what it returns.
#
# Guessed before it was run: an error in every case, since JSON has no nan, and all the more where `score` is declared a
# float. Seen: a route that declares its result (`-> Hit`, `-> dict[str, float]`) answers 200 with `"score":null`, against
# its own OpenAPI document, which says a number; one that declares nothing answers 500. On the way in, a vector of
# `list[float]` takes the literal NaN, the string "nan" and 1e999 (inf) as numbers, and refuses null.
# So a model that has gone wrong, or one bad vector, is served as null, health checks that count errors stay green,
# and clients break elsewhere; what the service returned, it does not take back. Declare pydantic.FiniteFloat.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check fastapi==0.165.0 pydantic==2.14.4 starlette==1.10.0 httpx2==2.16.2
cat > "$work/run.py" <<'PY'
import fastapi
import pydantic
from fastapi.testclient import TestClient
from pydantic import BaseModel, FiniteFloat


class Hit(BaseModel):
    id: str
    score: float


class FiniteHit(BaseModel):
    id: str
    score: FiniteFloat


class Query(BaseModel):
    vector: list[float]


app = fastapi.FastAPI()


@app.get("/declared")
def declared() -> Hit:
    return Hit(id="a", score=float("nan"))


@app.get("/mapping")
def mapping() -> dict[str, float]:
    return {"score": float("inf")}


@app.get("/undeclared")
def undeclared():
    return {"id": "a", "score": float("nan")}


@app.get("/finite")
def finite() -> FiniteHit:
    return {"id": "a", "score": float("nan")}


@app.post("/query")
def query(query: Query) -> int:
    return len(query.vector)


client = TestClient(app, raise_server_exceptions=False)
print(f"fastapi {fastapi.__version__}, pydantic {pydantic.__version__}")
answers = {}
for path in ("/declared", "/mapping", "/undeclared", "/finite"):
    answer = client.get(path)
    answers[path] = (answer.status_code, answer.text)
    print(f"GET {path:12} {answer.status_code} {answer.text}")
taken = {}
for number in ("NaN", '"nan"', "1e999", "null"):
    sent = client.post("/query", content=f'{{"vector": [{number}, 1]}}', headers={"content-type": "application/json"})
    taken[number] = sent.status_code
    print(f"POST /query  {number:6} {sent.status_code}")
promised = client.get("/openapi.json").json()["components"]["schemas"]["Hit"]["properties"]["score"]["type"]
assert promised == "number"
assert answers["/declared"] == (200, '{"id":"a","score":null}') and answers["/mapping"] == (200, '{"score":null}')
assert answers["/undeclared"][0] == 500 and answers["/finite"][0] == 500
assert taken == {"NaN": 200, '"nan"': 200, "1e999": 200, "null": 422}
PY
"$work/venv/bin/python" "$work/run.py"
