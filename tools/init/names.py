"""The names that shops give to the columns of their exports, in English and in Chinese.

A name is compared without case, blanks and punctuation: ``User_ID``, ``userId`` and ``user id`` are
one name. A field's first names are its usual ones; where two columns have names of one field, the
earlier name in the list wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_USER: Final = (
    "userid uid user visitorid reviewerid customerid customer custid memberid member accountid account buyerid buyer "
    "clientid usrid personid profileid visitor cookieid deviceid distinctid anonymousid userpseudoid fullvisitorid "
    "openid unionid userno usernumber customerno shopperid consumerid listenerid readerid msno username nickname "
    "用户id 用户编号 用户 会员id 会员编号 会员号 会员 买家id 买家 客户id 客户编号 客户 顾客id 顾客编号 顾客 访客id "
    "账号 帐号 账户id 用户名 用户标识 设备id"
)
_ITEM: Final = (
    "itemid iid item productid product prodid pid skuid sku goodsid goods movieid movie asin parentasin contentid "
    "content videoid video articleid article newsid songid trackid artistid bookid isbn businessid courseid aid "
    "adid listingid venueid poiid spuid wareid variantid offerid stockcode itemcode productcode productno itemno "
    "goodsno itemsku productsku animeid gameid appid recipeid photoid streamerid "
    "artist song track book anime game course recipe listing business venue "
    "商品id 商品编号 商品编码 商品代码 商品 货号 产品id 产品编号 产品编码 产品 物品id 物品编号 物品 物料编码 宝贝id "
    "视频id 文章id 新闻id 歌曲id 图书id 电影id 商品货号 商品sku sku编号 sku编码 款号 条码"
)

#: The names of each field of an event.
LOG_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "user_id": tuple(_USER.split()),
    "item_id": tuple(_ITEM.split()),
    "ts": tuple(
        (
            "ts tsms timestamp timestampms timestampmicros timestampseconds unixtimestamp unixtime unixreviewtime "
            "eventts eventtimestamp eventtime time timems datetime createdat createtime created creationtime "
            "occurredat sentat originaltimestamp servertime clienttime logtime visittime viewtime clicktime "
            "actiontime behaviortime ordertime purchasetime paytime ratingtime reviewtime interactiontime invoicedate "
            "orderdate eventdate date day dt dateandtime receivedat updatedat "
            "时间 时间戳 行为时间 发生时间 事件时间 操作时间 点击时间 浏览时间 访问时间 下单时间 购买时间 支付时间 交易时间 "
            "评论时间 评价时间 播放时间 创建时间 日期时间 日期 行为日期"
        ).split()
    ),
    "type": tuple(
        (
            "type eventtype event eventname behaviortype behaviourtype behavior behaviour actiontype action "
            "interactiontype interaction activitytype activity feedbacktype feedback verb "
            "行为类型 行为 事件类型 事件名称 事件名 事件 操作类型 操作 动作类型 动作 交互类型 类型"
        ).split()
    ),
    "value": tuple(
        (
            "value rating ratings score stars star overall ratingvalue reviewscore playcount plays listens weight "
            "watchratio watchtime playduration durationwatched dwelltime quantity qty amount revenue count "
            "评分 打分 得分 星级 评价分 评价 次数 播放次数 播放时长 观看时长 停留时长 数量 金额"
        ).split()
    ),
    "session_id": tuple("sessionid session usersession visitid gasessionid sid 会话id 会话编号 会话".split()),
    "event_id": tuple("eventid messageid insertid logid recordid uuid id 事件id 事件编号 日志id 流水号 记录id".split()),
}

#: The names of each field of an item.
ITEM_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "item_id": (*_ITEM.split(), "id", "code", "编号", "编码", "代码", "ids", "key"),
    "title": tuple(
        (
            "title itemtitle producttitle name itemname productname goodsname displayname headline movietitle "
            "booktitle songtitle tracktitle articletitle newstitle artistname songname trackname moviename bookname "
            "caption subject label "
            "标题 商品标题 商品名称 商品名 产品名称 产品名 产品标题 物品名称 名称 品名 宝贝标题 宝贝名称 书名 片名 电影名 歌名 "
            "歌曲名 文章标题 视频标题"
        ).split()
    ),
    "text": tuple(
        (
            "text description desc productdescription itemdescription longdescription shortdescription summary "
            "overview abstract body details detail plot synopsis introduction intro about content covertext "
            "manualcovertext bulletpoints "
            "描述 商品描述 产品描述 简介 商品简介 内容简介 详情 商品详情 介绍 内容 摘要 正文 卖点 说明"
        ).split()
    ),
    "category": tuple(
        (
            "category categories categoryname catname productcategory itemcategory maincategory genre genres "
            "department cat cate categorypath firstlevelcategoryname producttype section channel categoryid catid "
            "feat "
            "类目 商品类目 类目名称 分类 商品分类 分类名称 类别 商品类别 品类 一级类目 一级分类 频道 类型 题材 类目id 分类id"
        ).split()
    ),
    "tags": tuple(
        "tags tag keywords keyword labels topics topictag topictags hashtags 标签 商品标签 关键词 关键字 话题".split()
    ),
    "price": tuple(
        (
            "price saleprice sellingprice listprice unitprice currentprice retailprice finalprice itemprice "
            "productprice msrp cost "
            "价格 商品价格 售价 单价 现价 零售价 销售价 原价 标价"
        ).split()
    ),
}

#: The names of each field of a user.
USER_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "user_id": (*_USER.split(), "id", "trustor", "trusterid", "follower", "followerid", "sourceid", "编号"),
    "follows": tuple(
        (
            "follows following friendid friend friends trustee trusteeid trustedid followeeid followee followed "
            "followedid friendids targetid 关注 好友 关注用户 好友id 关注id 被关注id"
        ).split()
    ),
}

#: Parts of longer names, such as 下单用户ID or ``dim_user_id_v2``, from the surest on.
_PARTS: Final[Mapping[str, str]] = {
    "ts": r"(time|timestamp|date|_ts)$|时间|日期|时间戳",
    "user_id": r"(user|customer|member|visitor|buyer|shopper).*(id|no|code|key|hash)$|(用户|会员|买家|客户|顾客|访客)",
    "item_id": r"(item|product|goods|sku|movie|video|article|book|song|track|artist|listing).*(id|no|code|key)$"
    r"|(商品|产品|宝贝|物品|货品|视频|文章|图书|歌曲).*(id|编号|编码|号|码)",
    "type": r"(event|action|behaviou?r|interaction).*(type|name)$|行为|操作类型|事件",
    "value": r"(rating|score|stars)$|评分|打分|时长|次数|数量|金额",
    "session_id": r"session|会话",
    "title": r"(title|name)$|标题|名称|品名",
    "category": r"(category|genre)|类目|分类|类别|品类",
    "tags": r"(tags|keywords)$|标签|关键词",
    "price": r"price$|价格|售价|单价",
    "text": r"(description|summary|text)$|描述|简介|详情|介绍",
    "follows": r"(friend|followe|truste).*(id)?$|关注|好友",
}
#: Last steps of a path that need the step before them.
_VAGUE: Final = frozenset(("id", "key", "code", "name", "value", "type"))
#: The rank of a name that has only a part of a field's names.
PART_RANK: Final = 1000


#: Traditional letters in the names above, as Taiwan and Hong Kong write them.
_SIMPLIFIED: Final = str.maketrans(
    "戶號編為時間類別標題價購買瀏覽點擊會員產稱單數評圖簡關貨廠種賣發佈創權話頻訊",
    "户号编为时间类别标题价购买浏览点击会员产称单数评图简关货厂种卖发布创权话频讯",
)


def plain_name(name: str) -> str:
    """Return a column's name without case, blanks and punctuation.

    Of a path into a nested record, ``properties.product_id``, the last step counts; where that says
    little, as in ``user.id``, the last two. RecBole's ``user_id:token`` is ``user_id``.
    """
    steps = [_plain(step) for step in re.split(r"[.\[\]]+", name.split(":", 1)[0].strip().rstrip("[]."))]
    steps = [step for step in steps if step] or [""]
    return "".join(steps[-2:]) if steps[-1] in _VAGUE else steps[-1]


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold()).translate(_SIMPLIFIED)


def rank(name: str, field: str, names: Mapping[str, tuple[str, ...]]) -> int | None:
    """Return how well a column's name suits a field: 0 is best, None is not at all."""
    plain = plain_name(name)
    if not plain or plain.isdecimal():
        return None
    if plain in names[field]:
        return names[field].index(plain)
    if any(plain in others for others in names.values()):
        return None
    part = _PARTS.get(field)
    return PART_RANK if part and re.search(part, plain) else None


def is_known(name: str) -> bool:
    """Return whether a name is one of a field's names, of any kind of file."""
    plain = plain_name(name)
    tables = (LOG_NAMES, ITEM_NAMES, USER_NAMES)
    return any(plain in names for table in tables for names in table.values()) and not plain.isdecimal()
