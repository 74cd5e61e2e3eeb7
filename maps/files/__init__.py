"""Map files: one reader for each format, each of which makes a `maps.scene.Scene` or refuses with a typed error.

    nav2.py         ROS occupancy maps: YAML with a PGM or PNG image
    movingai.py     benchmark grids (.map) and their scenarios (.scen)
    geojson.py      polygons and discs in metres
    wkt.py          polygons in metres
    inline.py       the JSON form of a request's map
    inline_grid.py  the packed occupancy grid in it

Files come from anywhere. Sizes are checked before anything of that size is made, paths stay inside the map's folder, and
whatever is wrong raises `maps.errors.InvalidMapFile` or `LimitExceeded`.
"""
