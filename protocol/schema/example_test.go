package schema_test

import (
	"fmt"
	"log"
	"reflect"

	"github.com/foolscap-go/foolscap/protocol/schema"
)

// A constraint says what one value may be. Its text is the same in struct tags, in
// errors and in files.
func ExampleParse() {
	c, err := schema.Parse("choice(int(min=0), text(max=5), none)")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c)
	fmt.Println(c.Check("tea"), c.Check(nil))
	fmt.Println(c.Check(2.5))

	_, err = schema.Parse("list(int, max=)")
	fmt.Println(err)
	// Output:
	// choice(int(min=0), text(max=5), none)
	// <nil> <nil>
	// expected integer or text or none, got float
	// schema: at 15: expected a number, a text in quotes, b"bytes", true, false or none
}

// What breaks is what an old program and a new one can disagree about.
func ExampleCompare() {
	read := func(text string) *schema.Interface {
		i, err := schema.ParseInterface(text)
		if err != nil {
			log.Fatal(err)
		}
		return i
	}
	before := read(`
		interface RIShop.example.org
		  buy(item: text(max=100), count: int) -> int
		  close() -> none`)
	after := read(`
		interface RIShop.example.org
		  buy(item: text(max=40), count: int, note: optional(text)) -> int
		  close() -> none
		  reopen() -> none`)
	for _, change := range schema.Compare(before, after) {
		fmt.Println(change.Breaks, change.Text)
	}
	// Output:
	// true argument item of buy is text(max=40), it was text(max=100): calls of old callers may be refused
	// false argument note of buy is new and optional
	// false method reopen is new
}

// The arguments of a method are the fields of a struct.
func ExampleArgsOf() {
	type order struct {
		Item  string `schema:"text(max=40)"`
		Count uint8
		Gift  bool `foolscap:"as_gift,optional"`
	}
	args, err := schema.ArgsOf(reflect.TypeFor[order]())
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range args {
		fmt.Println(a.Name, a.Constraint, a.Optional)
	}
	// Output:
	// item text(max=40) false
	// count int(min=0, max=255) false
	// as_gift bool true
}
