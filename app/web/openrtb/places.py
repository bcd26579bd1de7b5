"""Names of places and devices, as exchanges write them, in our words: ISO 3166-2 regions, device and os."""

from __future__ import annotations

from functools import lru_cache

# ISO 3166-1: alpha-3 then alpha-2. Source: Debian iso-codes, by way of pycountry 24.
_COUNTRIES = (
    "ABWAW AFGAF AGOAO AIAAI ALAAX ALBAL ANDAD AREAE ARGAR ARMAM ASMAS ATAAQ ATFTF ATGAG AUSAU AUTAT "
    "AZEAZ BDIBI BELBE BENBJ BESBQ BFABF BGDBD BGRBG BHRBH BHSBS BIHBA BLMBL BLRBY BLZBZ BMUBM BOLBO "
    "BRABR BRBBB BRNBN BTNBT BVTBV BWABW CAFCF CANCA CCKCC CHECH CHLCL CHNCN CIVCI CMRCM CODCD COGCG "
    "COKCK COLCO COMKM CPVCV CRICR CUBCU CUWCW CXRCX CYMKY CYPCY CZECZ DEUDE DJIDJ DMADM DNKDK DOMDO "
    "DZADZ ECUEC EGYEG ERIER ESHEH ESPES ESTEE ETHET FINFI FJIFJ FLKFK FRAFR FROFO FSMFM GABGA GBRGB "
    "GEOGE GGYGG GHAGH GIBGI GINGN GLPGP GMBGM GNBGW GNQGQ GRCGR GRDGD GRLGL GTMGT GUFGF GUMGU GUYGY "
    "HKGHK HMDHM HNDHN HRVHR HTIHT HUNHU IDNID IMNIM INDIN IOTIO IRLIE IRNIR IRQIQ ISLIS ISRIL ITAIT "
    "JAMJM JEYJE JORJO JPNJP KAZKZ KENKE KGZKG KHMKH KIRKI KNAKN KORKR KWTKW LAOLA LBNLB LBRLR LBYLY "
    "LCALC LIELI LKALK LSOLS LTULT LUXLU LVALV MACMO MAFMF MARMA MCOMC MDAMD MDGMG MDVMV MEXMX MHLMH "
    "MKDMK MLIML MLTMT MMRMM MNEME MNGMN MNPMP MOZMZ MRTMR MSRMS MTQMQ MUSMU MWIMW MYSMY MYTYT NAMNA "
    "NCLNC NERNE NFKNF NGANG NICNI NIUNU NLDNL NORNO NPLNP NRUNR NZLNZ OMNOM PAKPK PANPA PCNPN PERPE "
    "PHLPH PLWPW PNGPG POLPL PRIPR PRKKP PRTPT PRYPY PSEPS PYFPF QATQA REURE ROURO RUSRU RWARW SAUSA "
    "SDNSD SENSN SGPSG SGSGS SHNSH SJMSJ SLBSB SLESL SLVSV SMRSM SOMSO SPMPM SRBRS SSDSS STPST SURSR "
    "SVKSK SVNSI SWESE SWZSZ SXMSX SYCSC SYRSY TCATC TCDTD TGOTG THATH TJKTJ TKLTK TKMTM TLSTL TONTO "
    "TTOTT TUNTN TURTR TUVTV TWNTW TZATZ UGAUG UKRUA UMIUM URYUY USAUS UZBUZ VATVA VCTVC VENVE VGBVG "
    "VIRVI VNMVN VUTVU WLFWF WSMWS YEMYE ZAFZA ZMBZM ZWEZW "
)
_ALPHA_2 = {word[:3]: word[3:] for word in _COUNTRIES.split()}
_KNOWN = frozenset(_ALPHA_2.values())

_LETTERS = 32  # of a code or name; longer ones are none, and what is kept of them must stay small

# AdCOM device types. 1 is "mobile or tablet": most are phones.
_DEVICES = {
    1: "mobile",
    2: "desktop",
    3: "tv",
    4: "mobile",
    5: "tablet",
    6: "connected",
    7: "settop",
    8: "dooh",
}
# What an os name starts with, without spaces and in lower case; the first that fits.
_SYSTEMS = (
    ("ipados", "ipados"),
    ("iphone", "ios"),
    ("ios", "ios"),
    ("android", "android"),
    ("fire", "fireos"),
    ("windows", "windows"),
    ("osx", "macos"),
    ("mac", "macos"),
    ("chromeos", "chromeos"),
    ("chromiumos", "chromeos"),
    ("cros", "chromeos"),
    ("tizen", "tizen"),
    ("webos", "webos"),
    ("roku", "roku"),
    ("tvos", "tvos"),
    ("harmony", "harmonyos"),
    ("playstation", "playstation"),
    ("xbox", "xbox"),
    ("linux", "linux"),
    ("ubuntu", "linux"),
)


def region_of(country: str, region: str) -> str | None:
    """Write a country and a region code as ISO 3166-2, or the country alone; None when it is unknown.

    A region that is a name and no code ("New York") is left out.

    >>> region_of("KOR", "11"), region_of("us", "NY"), region_of("USA", "New York"), region_of("", "11")
    ('KR-11', 'US-NY', 'US', None)
    """
    return _region_of(country[:_LETTERS], region[:_LETTERS])


@lru_cache(maxsize=8_192)
def _region_of(country: str, region: str) -> str | None:
    name = country.strip().upper()
    code = _ALPHA_2.get(name) or (name if name in _KNOWN else None)
    part = region.strip().upper()
    if part[2:3] == "-" and part[:2] in _KNOWN and part[3:].isalnum() and len(part) <= 6:
        return part if code in (None, part[:2]) else code
    if code is None:
        return None
    return f"{code}-{part}" if part.isalnum() and part.isascii() and len(part) <= 3 else code


def device_of(device_type: int) -> str | None:
    """Name an AdCOM device type.

    >>> device_of(3), device_of(99)
    ('tv', None)
    """
    return _DEVICES.get(device_type)


def system_of(name: str) -> str | None:
    """Name an operating system; None when it is not one that we tell apart.

    >>> system_of("Mac OS X"), system_of("Windows 7"), system_of("iOS"), system_of("BeOS")
    ('macos', 'windows', 'ios', None)
    """
    return _system_of(name[:_LETTERS])


@lru_cache(maxsize=4_096)
def _system_of(name: str) -> str | None:
    plain = name.replace(" ", "").lower()
    return next((system for start, system in _SYSTEMS if plain.startswith(start)), None)
