"""Image and text towers: loading them, splitting their attention, adapting them with LoRA, merging them again.

Modules in the order in which they may import one another:

    small          the project's own small EVA image tower, registered with timm
    packed         packed and fused attention <-> q/k/v/out Linears, in place
    identity       image_space and text_space: what a vector means
    backend        how each library's model is called: open_clip, transformers, timm
    names          module paths -> logical names, the same for every layout
    plan           ordered patterns over logical names -> rank or frozen
    hub            MODEL strings taken apart; where weights come from, and what to say when they do not
    build          a parsed MODEL string -> a library's model and its preprocessing
    classifier     a linear head over picture vectors, and its file
    protocol       what search, evaluation and serving know of a model; without torch
    byte_pairs     CLIP's tokenizer, without torch
    clip_text      the text tower of an open_clip folder in NumPy
    text_only      the text tower alone of a model: its ONNX or open_clip export
    encoder        the torch encoder
    text           each distinct text once, only as many tokens as needed
    adapter_state  what was put on an encoder: adapters, or weights trained in place
    lora           adapters by the plan, with the guards that stop a silent failure
    adapter_card   what is said beside an adapter: its base, its spaces
    adapter        an adapter on disk, in peft's form
    merge          adapters folded into the weights, in float32
    load           one MODEL string -> an encoder
    encode         a catalogue or a list of texts -> a matrix of unit vectors

Nothing here knows of losses, optimizers or metrics.
"""
