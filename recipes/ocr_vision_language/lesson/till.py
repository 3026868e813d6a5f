"""The texts of till receipts, line by line: their phrases, goods, amounts, numbers and codes, in any case.

The words are common ones of shops where English or Malay is written, mixed with those of `texts.vocabulary`; no data set's
texts were copied.
"""

import random
import string

from lesson.texts import draw_part, is_held_out, vocabulary

THERMAL_CHARACTERS = string.ascii_letters + string.digits + " .,:;/-&()#%*+@!?'\"=_[]<>\\^$"
SIGNS = ".,:;/-&()#%*+@!?'\"=_[]<>"


def _list(text: str) -> list[str]:
    return " ".join(text.split()).split(", ")


PHRASES = _list("""
tax invoice, invoice, receipt, cash bill, official receipt, sales receipt, credit note, duplicate copy, customer copy,
merchant copy, thank you, thank you very much, please come again, have a nice day, see you soon, we hope to see you
again, welcome to our shop, goods sold are not returnable, no refund without receipt, no exchange of cash, keep this
receipt for your records, exchange within 7 days with receipt, price inclusive of tax, all prices include gst, not valid
for claim, this is a computer printed slip, no signature needed, e. & o. e., for any enquiry please call, customer
service, customer care line, opening hours, open daily, free parking, take away, dine in, eat here, to go, self collect,
delivery, walk in, member card, member points, points earned, points balance, your savings today, you saved, voucher,
coupon, promotion, buy 1 free 1, special price, service charge, delivery charge, plastic bag, deposit, refund, void,
discount, subtotal, sub total, sub-total, grand total, total, total due, total amount, total payable, nett total, net
amount, amount, amount due, balance, balance due, cash, cash tendered, change, change due, tendered, paid, payment,
credit card, debit card, visa, master card, mastercard, e-wallet, approval code, card no, terminal id, batch no, trace
no, ref no, rounding, rounding adj, rounding adjustment, tax, tax code, tax summary, gst, gst summary, gst amount, gst
payable, vat, vat amount, taxable amount, zero rated, standard rated, excl. tax, incl. tax, total excluding gst, total
inclusive of gst, total with tax, item, items, item(s), no of items, total items, total qty, qty, quantity, unit price,
u.price, price, description, desc, disc, amt, code, uom, pcs, pkt, ctn, btl, kg, pc, pax, unit, sr, zr, table, table no,
order, order no, bill no, bill to, inv no, invoice no, receipt no, receipt #, doc no, document no, slip no, check no,
chk, trans, transaction, station, counter, till, pos, shift, cashier, cashier name, served by, server, staff, operator,
salesperson, sales person, manager, user, customer, customer name, attn, guest, guests, covers, date, time, date time,
printed on, issued, due date, terms, tel, tel no, fax, phone, mobile, h/p, e-mail, website, reg no, company reg no, co.
reg, gst id, gst id no, gst reg no, vat no, abn, tin, p.o. box, lot, level, ground floor, block, jalan, jln, lorong,
taman, bandar, persiaran, lebuh, kampung, seksyen, kuala lumpur, selangor, shah alam, petaling jaya, subang jaya, klang,
johor bahru, penang, ipoh, melaka, singapore, london, berlin, sydney
""")
GOODS = _list("""
coffee, tea, milk, sugar, bread, bun, cake, egg, rice, noodle, soup, chicken, fish, beef, lamb, prawn, squid, tofu,
curry, satay, salad, fruit, apple, banana, orange, lemon, mango, papaya, melon, grape, onion, garlic, ginger, potato,
tomato, carrot, cabbage, spinach, chilli, pepper, salt, sauce, oil, butter, cheese, yogurt, ice cream, chocolate,
biscuit, cookie, candy, gum, juice, water, soda, cola, beer, wine, kopi, teh, nasi, goreng, mee, ayam, ikan, ais, limau,
roti, telur, sayur, set, meal, combo, large, small, regular, medium, hot, cold, iced, fresh, frozen, fried, grilled,
steamed, spicy, sweet, original, mixed, special, black, white, red, green, blue, brown, paper, pen, pencil, ruler, glue,
tape, file, folder, book, card, envelope, printer, ink, toner, battery, cable, plug, lamp, bulb, switch, socket, wire,
nail, screw, bolt, nut, hammer, drill, brush, paint, roller, spray, sealant, cement, brick, pipe, valve, tap, hose,
bucket, broom, mop, soap, shampoo, tissue, towel, toothbrush, toothpaste, tablet, syrup, vitamin, cream, plaster, mask,
glove, shirt, shoe, sock, bag, belt, cap, watch, toy, game, ball, cup, plate, bowl, spoon, fork, knife, pan, pot, box,
tray, foil, lid, straw, petrol, diesel, litre, parking, ticket, toll, wash, service, repair, labour, part, filter, tyre,
brake
""")
OWNERS = _list("""
sdn bhd, (m) sdn bhd, s/b, enterprise, trading, restaurant, restoran, kedai, pasaraya, mart, hardware, supermarket,
bookstore, stationery, pharmacy, bakery, cafe, kitchen, house, garden, centre, auto
""")
TAXES = ["GST", "Tax", "VAT", "SR", "ZRL", "Service Tax"]
ROADS = ["Jalan", "Jln", "Taman", "Lorong", "Bandar"]
NAMED = ["GST ID", "GST No", "Reg No", "Inv No", "Ref", "Tel", "Doc No", "Bill#", "Slip No.", "Card"]  # what a code follows
CURRENCIES = ["RM", "RM ", "$", "EUR ", "USD ", "MYR "]


def _digits(rng: random.Random, fewest: int, most: int) -> str:
    return "".join(rng.choices(string.digits, k=rng.randint(fewest, most)))


def _amount(rng: random.Random) -> str:
    amount = f"{rng.randrange(10 ** rng.randint(1, 4)):,}.{_digits(rng, 2, 2)}"
    before = rng.choice(CURRENCIES) if rng.random() < 0.2 else "-" if rng.random() < 0.05 else ""
    after = rng.choice(["SR", " SR", "S", " S", " Z", "*", "%", " T", "T"]) if rng.random() < 0.15 else ""
    return before + amount + after


def _word(rng: random.Random) -> str:
    kind = rng.choice(["goods", "words", "names", "cities"])
    return rng.choice(GOODS) if kind == "goods" else rng.choice(vocabulary()[kind])


def _phrase(rng: random.Random) -> str:
    phrase = rng.choice(PHRASES)
    ending = rng.choice(["", "", ":", " :", ".", "!", f": {_amount(rng)}", f" {_amount(rng)}", f": {_digits(rng, 1, 10)}"])
    return f"{phrase}{ending}" if rng.random() < 0.9 else f": {_word(rng)}"


def _goods(rng: random.Random) -> str:
    name = " ".join(_word(rng) for _ in range(rng.randint(1, 4)))
    size = f" {_digits(rng, 1, 3)}{rng.choice(['g', 'kg', 'ml', 'l', 'mm', 'cm', 'pcs', 's', 'x', '%', 'w', 'oz'])}"
    before = rng.choice([f"{_digits(rng, 1, 2)} ", f"{_digits(rng, 1, 2)}x ", "- ", "*", f"{_digits(rng, 6, 13)} "])
    return (before if rng.random() < 0.25 else "") + name + (size if rng.random() < 0.3 else "")


def _marked(rng: random.Random) -> str:
    """Returns a word or number among signs: learned from such as these, since each is rare on receipts."""
    word = _word(rng) if rng.random() < 0.5 else _digits(rng, 1, 6)
    sign, other = rng.choice(SIGNS), rng.choice(SIGNS)
    around = [("(", ")"), ("[", "]"), ("<", ">"), ('"', '"'), ("*", "*"), ("#", ""), ("", "%"), ("@ ", "")]
    before, after = rng.choice([*around, ("", sign), (sign, ""), (sign, other), ("", sign + _word(rng))])
    return before + word + after


def _code(rng: random.Random, longest: int) -> str:
    """Returns letters and digits by chance, perhaps in groups."""
    characters = rng.choice([string.digits, string.digits, string.ascii_uppercase, string.digits + string.ascii_uppercase])
    groups = rng.choice([1, 1, 1, 2, 3])
    most = max(1, min(14, longest) // groups)
    separator = rng.choice(["-", "/", ".", ":", " ", "-"])
    return separator.join("".join(rng.choices(characters, k=rng.randint(1, most))) for _ in range(groups))


def _draw(kind: str, rng: random.Random) -> str:
    return {
        "phrase": _phrase,
        "goods": _goods,
        "amount": _amount,
        "marked": _marked,
        "word": _word,
        "words": lambda rng: " ".join(_word(rng) for _ in range(rng.randint(2, 6))),
        "number": lambda rng: _digits(rng, 1, 4),
        "tax": lambda rng: f"{rng.choice(TAXES)} {rng.choice(['@', '', '('])}{_digits(rng, 1, 2)}%",
        "owner": lambda rng: f"{' '.join(_word(rng) for _ in range(rng.randint(1, 3)))} {rng.choice(OWNERS)}",
        "street": lambda rng: (
            f"No {_digits(rng, 1, 3)}, {rng.choice(ROADS)} {_word(rng)} {_digits(rng, 1, 2)}/{_digits(rng, 1, 2)},"
        ),
        "town": lambda rng: f"{_digits(rng, 5, 5)} {_word(rng)}{rng.choice([',', '.', ''])}",
        "id": lambda rng: f"{rng.choice(NAMED)}{rng.choice([': ', ' : ', ':', ' '])}{_code(rng, 14)}",
    }.get(kind, lambda rng: draw_part(kind, rng))(rng)


KINDS = ["phrase"] * 3 + ["goods"] * 2 + ["amount"] * 3
KINDS += ["marked", "word", "words", "number", "tax", "owner", "street", "town", "id"]
KINDS += ["date", "time", "total", "phone", "company"]  # those of `texts.draw_part`


def draw_thermal_text(
    rng: random.Random, *, held_out: bool, shortest: int = 1, longest: int = 40, code_share: float = 0.25
) -> str:
    """Draws the text of one line, in the case in which it is printed; a quarter is in small letters, a quarter in both.

    Args:
        rng: Where the chance comes from.
        held_out: Draw one of the texts that are kept out of training, instead of the others.
        shortest: Fewest characters.
        longest: Most characters.
        code_share: Share of letters and digits by chance, in which nothing can be guessed.
    """
    is_code = rng.random() < code_share
    while True:
        # A second chance, or narrow limits that no other kind of line meets would be searched for ever.
        text = _code(rng, longest) if is_code or rng.random() < 0.02 else _draw(rng.choice(KINDS), rng)
        text = " ".join(rng.choice([str.upper, str.upper, str.title, str.lower, str])(text).split())
        if shortest <= len(text) <= longest and is_held_out(text) == held_out and set(text) <= set(THERMAL_CHARACTERS):
            return text
