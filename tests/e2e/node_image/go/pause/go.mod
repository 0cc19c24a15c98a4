module forebay.dev/node-image/pause

go 1.26.0
