"""What a column's name says about its part, in the words that shops and their tools use, in several languages.

    named("parent_sku")      -> group      named("Artikelnummer") -> product     named("SKU")  -> code
    named("product_name")    -> title      named("latitude")      -> number      named("photo_url") -> image

English, German, French, Spanish, Italian, Portuguese and Dutch; columns of Shopify, Amazon and Google Merchant. Knows
nothing of cells: clipadapt.data.inspect compares them with what a name promises.
"""

import re
import unicodedata
from typing import Literal

NameOf = Literal["image", "title", "text", "price", "number", "group", "product", "code", "maybe product", "id"]
"""group: items of one product, surely (item_group_id); product: a product's number; code: of a product where it
repeats, of an item where it does not (sku); maybe product: a product, or what kind it is (style, model)."""

_THING = (
    "product|produkt|producto|produit|prodotto|produto|article|artikel|articulo|articolo|artigo|style|model|modell|modele"
    "|modelo|modello|item|asset|scene|object|objekt"
)
_NUMBER = (
    "id|ids|no|nr|num|number|nummer|code|key|ref|refs|reference|referenz|referencia|riferimento|numero|codigo|codice|cod"
    "|sku|handle|uid|gid"
)
_PICTURE = "image|picture|photo|foto|bild|imagen|immagine|imagem|afbeelding|img|pic|photograph"
_FILE = "file|datei|archivo|fichier|bestand|arquivo"
_PLACE = "url|uri|src|link|path|pfad|file|name|filename|datei|ruta|chemin"

_FORMS: tuple[tuple[NameOf, str], ...] = (
    ("title", rf"(({_PICTURE}) )?alt( text)?"),
    ("image", rf"((main|primary|front|product|produkt|variant|featured|hero) )?({_PICTURE})s?( ({_PLACE}))?( 1)?"),
    ("image", rf"({_FILE})( ({_PLACE}))?|filename|filepath|imagefile|imagename|imagepath|imageurl|bilddatei|dateiname|"
              r"dateipfad|path|pfad|url|src|link"),
    ("price", r"(.* )?(price|preis|precio|prix|prezzo|preco|prijs|cost|kosten|msrp|rrp|uvp|amount)( .*)?"),
    ("number", r"(.* )?(lat|latitude|lng|lon|longitude|breite(ngrad)?|lange(ngrad)?|latitud|longitud|latitudine|"
               r"longitudine|altitude|elevation|easting|northing)( .*)?"),
    ("number", r"(.* )?(count|views|likes|rating|score|stock|quantity|qty|width|height|weight|position|rank)"),
    ("title", rf"(({_THING}) )?(title|name|headline|caption|titel|bezeichnung|titulo|nombre|titre|nom|libelle|"
              r"designation|titolo|nome|naam|label text)"),
    ("title", r"(produkt|artikel)(name|titel|bezeichnung)|product(name|title)|itemname|nom du produit"),
    ("text", rf"(({_THING}|short|long|meta) )?(description|beschreibung|descripcion|descrizione|descricao|omschrijving|"
             r"text|summary|body|body html|details)"),
    ("group", rf"(({_THING}|variant|variation) )?(group|gruppe|groupe|grupo|gruppo) ({_NUMBER})( ({_NUMBER}))?"),
    ("group", rf"(parent|master|mother|eltern|padre|family|variation)( ({_THING}))?( ({_NUMBER}))+|handle|"
              rf"parent({_THING})?|parent ({_THING}|asin)|parentsku|parentid|parent asin|groupid|itemgroupid"),
    ("code", r"((seller|variant|merchant|item) )?(sku|asin|ean|gtin|upc|barcode|isbn|mpn|ean13|gtin13)( (id|code))?"),
    ("product", rf"({_THING}) ({_NUMBER})( ({_NUMBER}))?|"
                rf"({_NUMBER})( (de|du|des|del|do|of))?( (la|le|l))? ?({_THING})"),
    ("product", r"(product|produkt|artikel|article|style|model|modell|art)(id|nummer|nr|no|code|ref|number|num)|"
                r"reference|referenz|referencia|riferimento|ref|art (no|nr)|bestellnummer|codigo|codice"),
    ("maybe product", rf"{_THING}|parent|family|(({_THING}) )?(group|gruppe|groupe|grupo|gruppo)"),
    ("id", rf"id|uid|uuid|guid|key|index|identifier|kennung|nr|no|row( id)?|.* id|({_PICTURE})id"),
)  # fmt: skip
"""Tried in turn; the first that matches the whole name counts."""


def named(column: str) -> NameOf | None:
    """What a column's name says; None when it says nothing."""
    plain = _plain(column)
    return next((part for part, form in _FORMS if re.fullmatch(form, plain)), None)


def _plain(name: str) -> str:
    """Lower-case words without accents: ProductRef, product-ref and PRODUCT_REF are product ref."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    letters = unicodedata.normalize("NFKD", apart.lower())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[a-z0-9]+", plain))
