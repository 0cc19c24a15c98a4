module forebay.dev/node-image/probe

go 1.26.0
