"""The page in a real browser, against the real service over a small shop.

Needs Playwright and a Chromium of the system (Debian: apt install chromium); skipped with a message without them.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from pages import MARKS, PHONE, WIDE, serious_faults, sideways
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.deploy.event_log.read import read
from clipadapt.inputs import resolve
from clipadapt.search.index import Index
from clipadapt.search.typed import Known
from clipadapt.service.app import create_app
from clipadapt.service.batching import BatchedEncoder
from clipadapt.service.collection import Collection
from clipadapt.service.pictures import ItemPictures
from clipadapt.service.serving import Serving
from clipadapt.service.settings import Settings
from clipadapt.service.traffic import Traffic
from clipadapt.service.traffic.flag import Flag
from clipadapt.towers.load import load

pytestmark = MARKS
TOKEN = "a-token-of-the-tests"
SHOTS = "#stage .card a.shot"


@pytest.fixture(scope="module")
def other_index(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The same items by another model."""
    folder = tmp_path_factory.mktemp("other")
    encoder = load(f"local-dir:{write_open_clip(folder / 'tiny', OPEN_CLIP['raw_in_proj'])}")
    Index.build(resolve(source=str(shop)).items("train"), folder / "index", encoder=encoder)
    return folder / "index", encoder


@pytest.fixture
def served(collection_of: Callable[..., Collection]) -> Iterator[Callable[..., str]]:
    """Starts a service; gives its address."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(
        current: Collection | None = None,
        candidate: Collection | None = None,
        settings: Settings | None = None,
        traffic: Traffic | None = None,
    ) -> str:
        serving = Serving(settings or Settings(), "shop", current or collection_of(), traffic=traffic)
        serving.replace(candidate, "candidate")
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(serving), log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        running.append((server, thread))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with httpx.Client(transport=httpx.HTTPTransport(retries=10), timeout=30) as client:
            assert client.get(f"{address}/healthz").status_code == 200
        return address

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def candidate(other_index, shop: Path) -> Iterator[Collection]:
    """Orders things differently."""
    folder, encoder = other_index
    batched = BatchedEncoder(encoder, gather_ms=0, remembered=100)
    index = Index.open(folder, encoder=batched)
    made = Collection("000002", index, batched, "torch", ItemPictures.of(resolve(source=str(shop)), index.ids()))
    yield made
    made.retire()


@pytest.fixture
def both(served: Callable[..., str], collection_of: Callable[..., Collection], candidate: Collection) -> str:
    """A service with a release and a candidate."""
    return served(collection_of(), candidate)


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., Any]]:
    """Opens the page; at the end nothing may have been asked of another host, refused by the policy, or thrown."""
    contexts, faults = [], []

    def open_(address: str, path: str = "/", *, expected: str | None = None, **options: Any) -> Any:
        context = browser.new_context(reduced_motion="reduce", **({"viewport": WIDE} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)

        def on_console(message: Any) -> None:
            if message.type == "error" and not (expected and expected in message.text):
                faults.append(message.text)

        page.on("console", on_console)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else faults.append(asked.url),
        )
        page.goto(address + path)
        return page

    yield open_
    for context in contexts:
        for page in context.pages:
            page.unroute_all(behavior="ignoreErrors")
        context.close()
    assert faults == []


def ids(page: Any, where: str = SHOTS) -> list[str]:
    return page.eval_on_selector_all(where, "shots => shots.map(one => one.dataset.id)")


def search(address: str, **body: Any) -> list[str]:
    answer = httpx.post(f"{address}/search", json={"k": 24, **body}, timeout=30).raise_for_status()
    return [hit["id"] for hit in answer.json()["hits"]]


def colours_of(address: str) -> list[str]:
    """The colours of the shop, the commonest first."""
    (facet,) = (
        one for one in httpx.get(f"{address}/facets", timeout=30).json()["facets"] if one["name"] == "baseColour"
    )
    return [one["value"] for one in facet["values"]]


def wait_for_ids(page: Any, expected: list[str]) -> None:
    page.wait_for_function(
        "([where, ids]) => JSON.stringify([...document.querySelectorAll(where)].map(one => one.dataset.id)) === ids",
        arg=[SHOTS, json.dumps(expected, separators=(",", ":"))],
    )


def state(page: Any) -> list[list[str]]:
    return page.evaluate("[...new URLSearchParams(location.search)]")


def test_the_first_sight_is_useful(served, open_page):
    address = served()
    page = open_page(address)
    page.wait_for_selector(".example img.there")
    assert "16 items" in page.inner_text("h1")
    example = page.locator(".example a").first
    words = example.inner_text().strip()
    assert set(words.split()) & {*colours_of(address), "Solid", "Striped", "Checked"}
    example.click()
    page.wait_for_selector(SHOTS)
    assert page.input_value("#words") == words
    page.go_back()
    page.wait_for_selector(".example")
    assert page.input_value("#words") == ""


def test_words_search_while_they_are_typed(served, open_page):
    address = served()
    page = open_page(address)
    page.wait_for_selector(".example")
    page.keyboard.press("/")
    page.keyboard.type("red shirt", delay=20)
    wait_for_ids(page, search(address, text="red shirt"))
    assert state(page) == [["q", "red shirt"]]
    assert "items" in page.inner_text("#status")
    alts = page.eval_on_selector_all(f"{SHOTS} img", "images => images.map(one => one.alt)")
    assert alts
    assert all("shirt" in text for text in alts)
    page.keyboard.press("Control+A")
    page.keyboard.type("blue", delay=20)
    wait_for_ids(page, search(address, text="blue"))
    page.go_back()  # a word is one step, not one for every letter
    page.wait_for_selector(".example")
    assert state(page) == []


def test_a_late_answer_does_not_replace_a_newer_one(served, open_page):
    address = served()
    page = open_page(address)
    page.wait_for_selector(".example")
    late: list[Any] = []

    def hold(route: Any) -> None:
        if json.loads(route.request.post_data)["text"] == "red":
            late.append(route)
        else:
            route.continue_()

    page.route("**/search", hold)
    page.fill("#words", "red")
    while not late:
        page.wait_for_timeout(20)
    page.fill("#words", "blue")
    expected = search(address, text="blue")
    wait_for_ids(page, expected)
    for route in late:
        route.continue_()
    page.wait_for_timeout(200)
    assert ids(page) == expected


def picture_of(shop: Path, item: str) -> bytes:
    return next((shop / "train").glob(f"{item}.png")).read_bytes()


GIVE = """([bytes, kind]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], "mine.png", {type: "image/png"}));
  window.dispatchEvent(kind === "paste" ? new ClipboardEvent("paste", {clipboardData: transfer, cancelable: true})
                                        : new DragEvent("drop", {dataTransfer: transfer, cancelable: true}));
}"""


@pytest.mark.parametrize("way", ["choose", "paste", "drop"])
def test_a_picture_searches(served, open_page, shop: Path, way: str):
    address = served()
    page = open_page(address)
    page.wait_for_selector(".example")
    item = search(address, text="red")[3]
    data = picture_of(shop, item)
    with page.expect_request(lambda asked: "multipart/form-data" in asked.headers.get("content-type", "")):
        if way == "choose":
            page.set_input_files("#file", {"name": "mine.png", "mimeType": "image/png", "buffer": data})
        else:
            page.evaluate(GIVE, [list(data), way])
    page.wait_for_selector(SHOTS)
    product = httpx.get(f"{address}/items/{item}").json()["product"]
    assert httpx.get(f"{address}/items/{ids(page)[0]}").json()["product"] == product
    assert page.is_visible("#like img[alt='Your picture']")
    assert not page.is_visible("#weight")

    page.fill("#words", "striped")
    page.wait_for_selector("#mix:not([hidden])")
    page.wait_for_selector("#results:not([aria-busy])")
    before = ids(page)
    page.focus("#weight")
    page.keyboard.press("End")
    wait_for_ids(page, search(address, text="striped"))
    assert ["w", "1"] in state(page)
    page.reload()  # the picture is still there
    page.wait_for_selector("#like img[alt='Your picture']")
    wait_for_ids(page, search(address, text="striped"))
    assert before
    page.click("[aria-label='Remove your picture']")
    page.wait_for_selector("#mix", state="hidden")


def test_no_picture_is_refused_in_words(served, open_page):
    page = open_page(served())
    page.wait_for_selector(".example")
    page.set_input_files("#file", {"name": "list.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    page.wait_for_selector("#toast.seen")
    assert "list.txt" in page.inner_text("#toast")
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"\x89PNG broken"})
    page.locator("#toast", has_text="JPEG").wait_for()
    assert state(page) == []


def test_facets_narrow_and_chips_take_away(served, open_page):
    address = served()
    page = open_page(address, "/?q=shirt")
    page.wait_for_selector(SHOTS)
    box = page.locator(".facet", has_text="baseColour")
    first, second = colours_of(address)[:2]
    box.get_by_label(first).check()
    wait_for_ids(page, search(address, text="shirt", where=[f"baseColour={first}"]))
    assert ["where", f"baseColour={first}"] in state(page)
    box.get_by_label(second).check()  # a column's own conditions do not narrow it
    wait_for_ids(page, search(address, text="shirt", where=[f"baseColour in ({first}, {second})"]))
    assert page.locator("#chips .chip").all_inner_texts() == [f"baseColour: {first}", f"baseColour: {second}"]
    page.click(f"[aria-label='Remove the filter baseColour: {first}']")
    wait_for_ids(page, search(address, text="shirt", where=[f"baseColour={second}"]))
    page.go_back()
    assert page.locator("#chips .chip").count() == 2
    page.click("#clear")
    wait_for_ids(page, search(address, text="shirt"))


@pytest.fixture
def reading(served, collection_of: Callable[..., Collection], shop: Path) -> str:
    """A service that reads what is typed."""
    plain = collection_of()
    pictures = ItemPictures.of(resolve(source=str(shop)), plain.index.ids())
    return served(Collection("000001", plain.index, plain.encoder, "torch", pictures, known=Known()))


def test_every_part_that_was_understood_can_be_taken_out(reading: str, open_page):
    colour = colours_of(reading)[0]
    text = f"{colour} shirt, not striped"
    page = open_page(reading, f"/?q={text}")
    wait_for_ids(page, search(reading, text=text))
    chips = page.locator("#understood .chip")
    assert chips.all_inner_texts() == [f"baseColour: {colour}", "not Pattern: Striped"]
    page.click("[aria-label='Take out not Pattern: Striped']")
    wait_for_ids(page, search(reading, text=f"{colour} shirt"))
    assert state(page) == [["q", f"{colour} shirt"]]
    assert page.input_value("#words") == f"{colour} shirt"
    page.go_back()
    page.wait_for_function("() => document.querySelectorAll('#understood .chip').length === 2")
    page.click("#understood .link")
    wait_for_ids(page, search(reading, text=text, plain=True))
    assert chips.all_inner_texts() == ["Words as they stand"]
    chips.first.click()
    wait_for_ids(page, search(reading, text=text))


def test_the_same_but_by_keys_and_by_chips(reading: str, open_page):
    page = open_page(reading, "/?q=shirt")
    page.wait_for_selector(SHOTS)
    page.keyboard.press("/")
    page.keyboard.press("ArrowDown")
    first = ids(page)[0]
    own = httpx.get(f"{reading}/items/{first}").json()["attributes"]["baseColour"]
    other = next(colour for colour in colours_of(reading) if colour != own)
    page.keyboard.press("b")
    page.keyboard.press("Escape")
    assert page.locator("form.but").count() == 0
    assert page.evaluate("document.activeElement.dataset.id") == first
    page.keyboard.press("b")
    page.keyboard.type(other)
    page.keyboard.press("Enter")
    wait_for_ids(page, search(reading, parts=[{"item": first, "but": other}]))
    assert state(page) == [["item", first], ["but", other]]
    assert page.locator("#understood .chip").all_inner_texts() == [f"baseColour: {other}"]
    assert page.locator("#like .what").inner_text().endswith(f", but {other}")
    page.fill("#words", "not striped")  # more changes, not words beside a picture
    wait_for_ids(page, search(reading, parts=[{"item": first, "but": f"{other}, not striped"}]))
    page.click(f"[aria-label='Take out baseColour: {other}']")
    wait_for_ids(page, search(reading, parts=[{"item": first, "but": "not striped"}]))
    page.locator(".but-of").first.click()
    offered = page.locator("form.but .chip").first
    value, item = offered.inner_text(), ids(page)[0]
    offered.click()
    wait_for_ids(page, search(reading, parts=[{"item": item, "but": value}]))


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_no_serious_fault_in_what_was_understood(reading: str, open_page, colours: str):
    page = open_page(reading, "/?q=shirt, not striped", color_scheme=colours, viewport=PHONE)
    page.wait_for_selector("#understood .chip")
    page.locator(".but-of").first.click()
    page.wait_for_selector("form.but input")
    page.wait_for_selector("#results:not([aria-busy])")
    assert serious_faults(page) == []
    assert sideways(page) == 0


def test_more_like_this_by_keys_alone(served, open_page):
    address = served()
    page = open_page(address, "/?q=shirt")
    page.wait_for_selector(SHOTS)
    page.keyboard.press("/")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    second = ids(page)[1]
    assert page.evaluate("document.activeElement.dataset.id") == second
    page.keyboard.press("i")
    assert page.locator(".facts").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_selector("#item[open] .similar a")
    assert ["open", second] in state(page)
    page.keyboard.press("ArrowRight")
    page.wait_for_function("id => new URLSearchParams(location.search).get('open') === id", arg=ids(page)[2])
    page.keyboard.press("Escape")
    page.wait_for_selector("#item", state="hidden")
    page.wait_for_function("() => location.search === '?q=shirt'")  # going back takes the browser a moment
    page.keyboard.press("m")
    wait_for_ids(page, search(address, item=second))
    assert state(page) == [["item", second]]
    page.go_back()
    wait_for_ids(page, search(address, text="shirt"))


def test_what_is_seen_and_opened_is_reported_once(served, open_page, tmp_path: Path):
    traffic = Traffic.open(log=tmp_path / "log")
    page = open_page(served(traffic=traffic), "/?q=red")
    page.wait_for_selector(SHOTS)
    seen = ids(page)
    with page.expect_response("**/events"):
        page.locator(SHOTS).nth(2).click()
    page.wait_for_selector("#item[open] .similar a")
    page.keyboard.press("Escape")
    page.click("#details")  # draws the results anew
    page.wait_for_timeout(1_500)
    page.close()
    traffic.close()
    events = read(tmp_path / "log", "events").table.to_pylist()
    assert [(one["item"], one["position"]) for one in events if one["event"] == "click"] == [(seen[2], 3)]
    impressions = [(one["item"], one["position"]) for one in events if one["event"] == "impression"]
    assert len(set(impressions)) == len(impressions)
    assert (seen[0], 1) in impressions


def test_side_by_side_says_what_moved(both: str, open_page):
    page = open_page(both, "/?q=red&view=both")
    page.wait_for_selector(".sides")
    old, new = (search(both, text="red", arm=arm) for arm in ("current", "candidate"))
    assert ids(page, ".side:nth-child(1) a.shot") == old
    assert ids(page, ".side:nth-child(2) a.shot") == new
    products = {item: httpx.get(f"{both}/items/{item}").json()["product"] for item in {*old, *new}}
    before, after = ([products[item] for item in side] for side in (old, new))
    assert before != after, "the two models have to differ for this test"
    expected = []
    for place, product in enumerate(after):
        up = before.index(product) - place if product in before else None
        expected.append("new" if up is None else "=" if up == 0 else f"{'▲' if up > 0 else '▼'} {abs(up)}")
    shown = page.eval_on_selector_all(
        ".side:nth-child(2) .move > span:first-child", "all => all.map(one => one.textContent)"
    )
    assert shown == expected
    page.get_by_text("Candidate", exact=True).first.click()
    wait_for_ids(page, new)
    assert ["view", "candidate"] in state(page)


def test_a_flag_decides_who_answers_whom(served, collection_of, candidate, open_page, tmp_path: Path):
    flag = tmp_path / "flag.yaml"
    flag.write_text("{share: 50%, salt: autumn}")
    users = {Flag.load(flag).arm_of(name): name for name in map(str, range(20))}
    assert users.keys() == {"current", "candidate"}
    traffic = Traffic.open(flag, tmp_path / "log")
    address = served(collection_of(), candidate, traffic=traffic)
    orders = {arm: search(address, text="red", arm=arm) for arm in users}
    assert orders["current"] != orders["candidate"], "the two models have to differ for this test"
    for arm, name in users.items():
        kept = {"origins": [{"origin": address, "localStorage": [{"name": "user", "value": name}]}]}
        page = open_page(address, "/?q=red", storage_state=kept)
        wait_for_ids(page, orders[arm])
        with page.expect_response("**/events"):
            page.locator(SHOTS).first.click()
        page.close()
    page = open_page(address, "/?q=red")
    page.wait_for_selector(SHOTS)
    stranger = page.evaluate("localStorage.getItem('user')")
    assert ids(page) == orders[Flag.load(flag).arm_of(stranger)], "a browser that has no name yet gives itself one"
    page.close()
    traffic.close()
    events = read(tmp_path / "log", "events").table.to_pylist()
    clicks = {(one["arm"], one["release"]) for one in events if one["event"] == "click"}
    assert clicks == {("current", "000001"), ("candidate", "000002")}
    assert all(one["user"] not in (None, *users.values()) for one in events), "hashed"


def test_an_error_is_said_with_a_way_out(served, open_page):
    address = served()
    page = open_page(address, "/?q=red&where=colr=Red", expected="400")
    page.wait_for_selector(".panel.error")
    assert "no column" in page.inner_text(".panel.error")
    page.get_by_role("button", name="Clear the filters").click()
    wait_for_ids(page, search(address, text="red"))


def test_a_service_that_is_gone_may_be_asked_again(served, open_page):
    address = served()
    page = open_page(address, expected="ERR_FAILED")
    page.wait_for_selector(".example")
    page.route("**/search", lambda route: route.abort())
    page.fill("#words", "red")
    page.wait_for_selector(".panel.error")
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    wait_for_ids(page, search(address, text="red"))
    page.route("**/info", lambda route: route.abort())
    page.reload()
    page.wait_for_selector(".panel.error")
    page.unroute("**/info")
    page.get_by_role("button", name="Try again").click()
    wait_for_ids(page, search(address, text="red"))


def test_a_reload_keeps_everything(served, open_page):
    address = served()
    item, colours = search(address, text="red")[0], colours_of(address)
    page = open_page(address, f"/?q=red&where=baseColour+in+({colours[0]},+{colours[1]})&k=2&details=1&open={item}")
    for _ in range(2):
        page.wait_for_selector("#item[open] .item-body")
        page.wait_for_function("where => document.querySelectorAll(where).length === 2", arg=SHOTS)
        assert page.locator("#stage .facts").count() == 2
        assert page.locator("#chips .chip").count() == 2
        page.reload()


def test_without_pictures_it_says_what_items_are(served, collection_of, open_page):
    page = open_page(served(collection_of(pictures=False)), "/?q=red")
    page.wait_for_selector(SHOTS)
    assert page.locator(f"{SHOTS} img").count() == 0
    assert "shirt" in page.inner_text(SHOTS)


def test_a_token_is_asked_for_once(served, open_page):
    page = open_page(served(settings=Settings(token=TOKEN)), "/?q=red", expected="401")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{SHOTS} img.there")


def test_values_of_a_catalogue_are_never_markup(served, open_page):
    address = served()
    page = open_page(address)
    page.wait_for_selector(".example")
    hostile = "<img src=x onerror='window.hacked = 1'>"

    def answer(route: Any) -> None:
        response = route.fetch()
        body = response.json()
        for hit in body["hits"]:
            hit["attributes"] |= {"name": hostile, "Pattern": hostile}
        route.fulfill(response=response, json=body)

    page.route("**/search", answer)
    page.fill("#words", "red")
    page.wait_for_selector(SHOTS)
    page.click("#details")
    page.click(SHOTS)
    page.wait_for_selector("#item[open] .similar a")
    assert hostile in page.inner_text("#item-title")
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize(
    "path", ["/", "/?q=red&details=1&where=baseColour={colour}", "/?q=red&view=both", "/?q=red&open={item}"]
)
def test_axe_finds_no_serious_fault(both: str, open_page, path: str, colours: str):
    item = search(both, text="red")[0]
    page = open_page(both, path.format(item=item, colour=colours_of(both)[0]), color_scheme=colours)
    page.wait_for_selector("#item[open] .similar a" if "open" in path else ".example a" if path == "/" else SHOTS)
    page.wait_for_selector("#results:not([aria-busy])")
    assert serious_faults(page) == []


def test_a_phone_has_all_of_it(served, open_page):
    page = open_page(served(), "/?q=red", viewport=PHONE, has_touch=True, is_mobile=True)
    page.wait_for_selector(SHOTS)
    assert sideways(page) == 0
    page.click("#open-filters")
    page.locator("#sheet .facet", has_text="baseColour").locator("label").first.click()
    page.wait_for_selector("#chips .chip")
    page.click("#sheet-done")
    page.wait_for_selector("#sheet", state="hidden")
    assert page.locator("#filter-count").inner_text() == "1"


def test_buttons_hold_their_words_on_a_phone(reading: str, open_page):
    page = open_page(reading, "/?q=red", viewport=PHONE, has_touch=True, is_mobile=True)
    page.wait_for_selector("#stage .but-of")
    outside = page.eval_on_selector_all(
        "#stage .act > *",
        """parts => parts.filter(part => {
            const own = part.getBoundingClientRect(), box = part.parentElement.getBoundingClientRect();
            return own.width && (own.left < box.left + 4 || own.right > box.right - 4);
        }).map(part => part.textContent)""",
    )
    assert outside == []


def test_a_service_that_is_still_loading_is_no_error(served, open_page):
    address = served()
    page = open_page(address, expected="503")
    page.wait_for_selector(".example")
    loading = {"code": "not_ready", "message": "the index is still loading", "request_id": "0"}
    answer = {"status": 503, "content_type": "application/json", "body": json.dumps({"error": loading})}
    page.route("**/info", lambda route: route.fulfill(**answer))
    page.reload()
    page.wait_for_selector(".panel")
    assert "still loading" in page.inner_text(".panel") and page.locator(".panel.error").count() == 0
    page.unroute("**/info")
    page.wait_for_selector(".example")
