"""Every method in IANA's registry, and some that are not."""

from envoy_recorder.head_cases.build import first, lines

METHODS = """
ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE
MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI
PROPFIND PROPPATCH PUT QUERY REBIND REPORT SEARCH SUBSCRIBE SOURCE TRACE UNBIND UNCHECKOUT UNLINK
UNLOCK UNSUBSCRIBE UPDATE UPDATEREDIRECTREF VERSION-CONTROL
BREW DESCRIBE ANNOUNCE SETUP PLAY NOTIFY M-SEARCH PURGE REFRESH BAN FLUSH TRACK DEBUG INVOKE
GETX GE G HEADER POSTS PROPFIN
"""


def heads() -> list[dict]:
    """See the module."""
    listed = [first(f"{method} / HTTP/1.1") for method in METHODS.split()]
    listed += [lines("content-type: a", method="QUERY"), lines("content-type:", method="QUERY"),
               lines("content-length: 0", method="QUERY")]
    return listed
