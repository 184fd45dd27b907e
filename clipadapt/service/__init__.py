"""The search service: an index behind HTTP, with its encoder, its pictures and a page to search on."""
