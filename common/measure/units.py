"""What stands around a number: currencies, units, and words that make another number of it."""

import re

CURRENCY = r"(?:US|CA|A|C|HK|NZ|R|S|NT)?[$¢£¤¥฿₠-⃀]|(?:USD|EUR|GBP|JPY|CHF|CNY|INR|CAD|AUD|RM|Rs\.?|kr\.?|Fr\.?)(?![^\W\d_])"
SIGNS = {
    **dict.fromkeys(["dollar", "dollars", "usd", "us$", "bucks"], "$"),
    **dict.fromkeys(["euro", "euros", "eur"], "€"),
    **dict.fromkeys(["yen", "jpy"], "¥"),
    "gbp": "£",
    **dict.fromkeys(["percent", "per cent", "pct", "prozent", "pour cent", "por ciento"], "%"),
    **dict.fromkeys(["процент", "процента", "процентов"], "%"),
}

# Words that make another number of the one before them. Short forms stand in the case in which they mean that.
SCALES = {
    10: "tens dizaine dizaines",
    12: "dozen dozens dutzend douzaine douzaines docena docenas dúzia dúzias dozzina dozzine дюжина дюжины дюжин 打",
    100: "hundred hundreds hundert centaine centaines cientos सौ শত ร้อย 百 백 trăm ratus",
    1000: "thousand thousands grand tausend mille millier milliers mil mila duizend tusen tuhat tuhatta bin ribu nghìn ngàn "
    "ezer tisíc tys tysiąc tysiące tysięcy тыс тысяча тысячи тысяч тысячу тисяча тисячі тисяч χιλιάδες χίλια ألف آلاف هزار אלף "
    "हज़ार हजार হাজার พัน 千 천 K k",
    10_000: "หมื่น 万 萬 만",
    100_000: "lakh lakhs lac lacs लाख লাখ লক্ষ แสน",
    1_000_000: "million millions mio mln mn millionen millón millones milhão milhões milione milioni miljoen miljoner miljonia "
    "milion miliony milionów milyon triệu juta millió млн миллион миллиона миллионов мільйон мільйони мільйонів εκατομμύριο "
    "εκατομμύρια مليون ملايين میلیون מיליון ล้าน 백만 M",
    10_000_000: "crore crores करोड़ কোটি",
    100_000_000: "亿 億 억",
    1_000_000_000: "billion billions bn mrd milliarde milliarden milliard milliards miliardo miliardi miljard miljarder "
    "miliard miliardy miliardów mld milyar tỷ miliar milliárd bilhão bilhões млрд миллиард миллиарда "
    "миллиардов مليار میلیارد B",
    1_000_000_000_000: "trillion trillions tn trn billionen triliun трлн триллион триллиона триллионов 兆 조 T",
}
FACTORS = {word: factor for factor, forms in SCALES.items() for word in forms.split()}
# Of scripts that put no spaces before what follows; kilograms, megawatts, percentage points and pieces are units all the same.
FACTOR_BEGINS = re.compile("(?!千[克米瓦卡升]|兆[瓦字赫]|百分|조각)(?:[百千万萬亿億兆打백천만억조]|ร้อย|พัน|หมื่น|แสน|ล้าน)")
# Words and letters that make something else of a number: no unit, and no factor that would be known.
NO_UNIT = re.compile(
    r"\b(?:half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|hundredths?|thousandths?|"
    r"millionths?|quadrillions?|quintillions?|scores?|gross|and|or|to|minus|plus|times(?= [^\W\d_])|over|by|squared|cubed|root|"
    r"power|factorial|doubled?|twice|thrice|triple|point|not|isn't|no|mod|modulo|sin|cos|tan|log|ln|exp|sqrt|pi|π|"
    r"und|oder|et|ou|o|y|и|или)\b"
)
LONGEST_UNIT = 4  # words
UNIT_LETTERS = set("gmslhdpcLVWANJCF")  # gram, metre, second, litre, hour, day, penny, cent, ...; x, n or e are no units
UNIT = re.compile(r"[^\W\d_][^\d_=<>+*\\{}!?,;:]*(?:\^[23])?(?:/[^\W\d_]+(?:\^[23])?)?|° ?[CFK]?|'{1,2}|\"|%.*")


def scale_of(word: str) -> int | None:
    """Returns what a word after a number multiplies it by; None for a word that does not.

    Args:
        word: The word, folded (see `common.measure.text.fold`).
    """
    word = word.rstrip(".,;:!?)*")
    return FACTORS.get(word) or (FACTORS.get(word.lower()) if len(word) > 1 else None)


def read_unit(unit: str, is_money: bool) -> tuple[int, str] | None:
    """Reads what follows a number.

    Args:
        unit: The text, folded, with the space before it if there is one.
        is_money: Whether a currency stands before the number: `$18m` is millions, `18 m` metres.

    Returns:
        What the number is multiplied by, and the unit in lower case; None if it is neither, so that there is no such number.
    """
    attached, unit = not unit.startswith(" "), unit.strip()
    if unit[:1] == "." and not unit[1:2].isalpha():  # the end of a sentence
        unit = unit[1:].strip()
    if not unit:
        return 1, ""
    first, _, rest = unit.partition(" ")
    factor = scale_of(first)
    if is_money and attached and first.lower() in ("m", "b"):
        factor = {"m": 10**6, "b": 10**9}[first.lower()]
    begins = FACTOR_BEGINS.match(unit)
    if factor is None and begins:
        factor, rest = FACTORS[begins[0]], unit[begins.end() :]
    if factor is not None:
        more = read_unit(f" {rest}" if rest else "", is_money)
        return more and (factor * more[0], more[1])
    if re.fullmatch(CURRENCY, unit):
        return 1, unit
    if (
        not UNIT.fullmatch(unit)
        or len(unit.split()) > LONGEST_UNIT
        or NO_UNIT.search(unit.lower())
        or any(scale_of(word) for word in unit.split()[1:])
    ):
        return None
    if len(unit) == 1 and unit.isascii() and unit.isalpha() and unit not in UNIT_LETTERS:
        return None
    return 1, "%" if unit[0] == "%" else unit.rstrip(".").lower()
