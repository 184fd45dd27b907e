from clipadapt.towers.long_texts import LongTexts


def test_a_text_is_named_once_and_not_for_ever_remembered(monkeypatch, caplog):
    monkeypatch.setattr("clipadapt.towers.long_texts._REMEMBERED", 5)
    texts = LongTexts("model", 8)
    for number in range(50):
        texts.warn({f"text {number}": 3})
        texts.warn({f"text {number}": 3})
        assert len(texts._known) <= 6
    assert len(caplog.records) == 50
