module github.com/foolscap-go/foolscap/examples/transports

go 1.26.0

replace github.com/foolscap-go/foolscap => ../..

require (
	github.com/foolscap-go/foolscap v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/net v0.62.0 // indirect
)
