"""Things, places and names, each list with a part for every wording of `wording.WORDINGS`."""

from __future__ import annotations

from wording import Parts


def _parts(text: str) -> list[str]:
    return text.split("|")


ITEMS: Parts = (
    _parts(
        "kettle|toaster|desk lamp|office chair|garden hose|backpack|rain jacket|"
        "coffee grinder|bread knife|wool blanket|bicycle pump|camping stove|water bottle|"
        "picture frame|alarm clock|hair dryer|floor mat|curtain rod|cutting board|"
        "wall mirror|steam iron|phone case|travel bag|wireless mouse|paper shredder|"
        "sewing machine|tool box|bath towel|bedside table|egg timer|frying pan|winter glove|"
        "running shoe|guitar string|plant pot|laptop stand|soup bowl|door handle|step ladder|"
        "heating pad|electric drill|hand mixer"
    ),
    _parts(
        "rice cooker|fan heater|yoga mat|bird feeder|tea strainer|drawing board|ski helmet|"
        "cable drum|spice rack|foot stool|sleeping bag|garden shear|piano lamp|lunch tin|"
        "clothes rail|key ring"
    ),
    _parts(
        "bottle opener|bread bin|candle holder|can opener|cheese grater|chess board|coat stand|"
        "cooking pot|deck chair|dish rack|door bell|extension cable|fruit basket|hiking boot|"
        "hot plate|kitchen scale|letter box|milk jug|night light|paint roller|pepper mill|"
        "phone charger|pillow case|salad spinner|shower curtain|soap dish|table fan|"
        "tape measure|tennis racket|waffle maker|watering can|wine glass"
    ),
)
CITIES: Parts = (
    _parts(
        "Leeds|Bristol|Cardiff|Glasgow|Dublin|Cork|Lyon|Nantes|Lille|Hamburg|Bremen|Leipzig|"
        "Vienna|Graz|Zurich|Basel|Turin|Naples|Bologna|Madrid|Seville|Valencia|Porto|Lisbon|"
        "Utrecht|Rotterdam|Ghent|Antwerp|Oslo|Bergen|Malmo|Uppsala|Helsinki|Tampere|Warsaw|"
        "Krakow|Prague|Brno|Budapest|Zagreb|Boston|Denver|Austin|Portland|Toronto|Ottawa|"
        "Sydney|Perth"
    ),
    _parts(
        "York|Belfast|Marseille|Dresden|Salzburg|Geneva|Palermo|Bilbao|Braga|Eindhoven|"
        "Bruges|Stavanger|Aarhus|Gdansk|Ljubljana|Chicago|Memphis|Halifax|Brisbane|Auckland"
    ),
    _parts(
        "Exeter|Norwich|Swansea|Dundee|Limerick|Galway|Toulouse|Rennes|Reims|Cologne|Kassel|"
        "Rostock|Linz|Innsbruck|Lugano|Verona|Genoa|Malaga|Murcia|Coimbra|Leiden|Leuven|"
        "Trondheim|Odense|Turku|Poznan|Ostrava|Szeged|Seattle|Tucson|Montreal|Adelaide"
    ),
)
NAMES: Parts = (
    _parts(
        "Anna|Ben|Clara|David|Elif|Farid|Grace|Hugo|Irene|Jonas|Kofi|Lena|Marco|Nadia|Omar|"
        "Priya|Rosa|Samuel|Tomas|Vera"
    ),
    _parts("Amara|Bruno|Celia|Dmitri|Esther|Felix|Greta|Hassan"),
    _parts("Agnes|Boris|Cora|Daniel|Edith|Gustav|Hana|Ivan|Julia|Karim|Mina|Pablo"),
)
RELATIVES: Parts = (
    _parts("sister|brother|neighbour|father|mother|boss|flatmate"),
    _parts("aunt|cousin|husband|colleague"),
    _parts("niece|uncle|grandmother|wife|landlord"),
)
DAYS = _parts("Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday")
NUMBERS = _parts(
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|"
    "fifteen|sixteen|seventeen|eighteen|nineteen|twenty"
)
