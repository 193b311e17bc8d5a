"""The videos that are decoded: the names of their files, and the containers that FFmpeg may open."""

VIDEO_EXTENSIONS = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"}
    | {".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
"""Extensions of the files, in lower case and with their dot."""
VIDEO_CONTAINERS = "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,gif,mxf"
"""FFmpeg's names of their containers. Others may be playlists, which make it open further files and URLs."""
