module github.com/foolscap-go/foolscap

go 1.26.0

require (
	github.com/cretz/bine v0.2.0
	github.com/dsnet/compress v0.0.1
	github.com/quic-go/quic-go v0.65.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/net v0.62.0
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
