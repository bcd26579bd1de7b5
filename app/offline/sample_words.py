"""The words that a sample catalogue is made of: trades, brands, offers, sites, and who lives where."""

# Content category, trade, what it offers, and the interest that goes with it.
TRADES = (
    ("IAB1", "엔터테인먼트", "콘서트 예매", "music"),
    ("IAB2", "모터스", "신차 시승", "cars"),
    ("IAB3", "비즈니스", "사무실 구독", "business"),
    ("IAB4", "커리어", "이직 상담", "career"),
    ("IAB5", "에듀", "영어 회화", "education"),
    ("IAB6", "키즈", "아이 학습지", "parenting"),
    ("IAB7", "헬스케어", "건강 검진", "health"),
    ("IAB8", "푸드", "새벽 배송 장보기", "food"),
    ("IAB9", "게임즈", "신작 사전 등록", "games"),
    ("IAB10", "리빙", "여름 침구", "living"),
    ("IAB13", "증권", "비대면 계좌", "finance"),
    ("IAB14", "데이팅", "새로운 만남", "dating"),
    ("IAB15", "뉴스", "프리미엄 구독", "news"),
    ("IAB16", "펫", "사료 정기 배송", "pets"),
    ("IAB17", "스포츠", "러닝화", "sports"),
    ("IAB18", "뷰티", "선크림 1+1", "fashion"),
    ("IAB19", "테크", "무선 이어폰", "technology"),
    ("IAB20", "여행", "제주 항공권", "travel"),
    ("IAB21", "부동산", "분양 정보", "property"),
    ("IAB22", "쇼핑", "오늘의 특가", "shopping"),
)
INTERESTS = tuple(trade[3] for trade in TRADES)
BRANDS = (
    ("한빛", "hanbit"), ("새봄", "saebom"), ("푸른", "pureun"), ("별하", "byeolha"), ("가온", "gaon"),
    ("다온", "daon"), ("라온", "raon"), ("마루", "maru"), ("바른", "bareun"), ("아라", "ara"),
    ("온새미", "onsaemi"), ("해솔", "haesol"), ("나래", "narae"), ("도담", "dodam"), ("미르", "mir"),
    ("시나브로", "sinabro"), ("예그리나", "yegrina"), ("하람", "haram"), ("늘봄", "neulbom"),
    ("은하", "eunha"),
)  # fmt: skip
PUSHES = ("지금 만나보세요", "오늘만 할인", "첫 달 무료", "후기 1위", "앱에서 더 싸게", "마감 임박")
SITES = (
    ("아침뉴스", "achim-news", "IAB12"), ("골목맛집", "golmok", "IAB8"), ("날씨한눈", "nalssi", "IAB15"),
    ("축구광장", "chukgu", "IAB17"), ("육아수첩", "yuga", "IAB6"), ("게임마당", "gamemadang", "IAB9"),
    ("경제노트", "econote", "IAB13"), ("패션거리", "fashion", "IAB18"), ("여행일기", "tripdiary", "IAB20"),
    ("테크리뷰", "techreview", "IAB19"), ("동네장터", "jangteo", "IAB22"), ("웹툰방", "webtoonbang", "IAB1"),
)  # fmt: skip
SPOTS = ("상단", "본문 중간", "본문 아래", "목록 사이", "하단 고정")

# Regions by ISO 3166-2 and their share of the people, in per mille (rounded; KOSIS 2023).
REGIONS = {
    "KR-11": 183, "KR-26": 64, "KR-27": 46, "KR-28": 58, "KR-29": 28, "KR-30": 28, "KR-31": 21, "KR-41": 266,
    "KR-42": 30, "KR-43": 31, "KR-44": 41, "KR-45": 34, "KR-46": 35, "KR-47": 50, "KR-48": 63, "KR-49": 13,
    "KR-50": 9,
}  # fmt: skip
