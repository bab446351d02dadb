// Runs Go's text/template over the cases that come on standard input and says what it made of each.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"text/template"
)

type testCase struct {
	Template string          `json:"template"`
	Data     json.RawMessage `json:"data"`
	Option   string          `json:"option"`
}

type result struct {
	Output *string `json:"output,omitempty"`
	Error  string  `json:"error,omitempty"`
}

func convert(v any) any {
	switch v := v.(type) {
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			f, _ := v.Float64()
			return f
		}
		i, _ := v.Int64()
		return int(i)
	case []any:
		for i := range v {
			v[i] = convert(v[i])
		}
		return v
	case map[string]any:
		if fields, ok := v["$struct"]; ok {
			return structOf(fields.([]any))
		}
		for k := range v {
			v[k] = convert(v[k])
		}
		return v
	}
	return v
}

func structOf(pairs []any) any {
	var fields []reflect.StructField
	var values []reflect.Value
	for _, p := range pairs {
		pair := p.([]any)
		value := reflect.ValueOf(convert(pair[1]))
		fields = append(fields, reflect.StructField{Name: pair[0].(string), Type: value.Type()})
		values = append(values, value)
	}
	s := reflect.New(reflect.StructOf(fields)).Elem()
	for i, value := range values {
		s.Field(i).Set(value)
	}
	return s.Interface()
}

func run(c testCase) (r result) {
	t := template.New("t").Funcs(template.FuncMap{
		"user": func(s string) string { return "<" + s + ">" },
		"add":  func(a, b int) int { return a + b },
		"join": func(sep string, parts ...string) string { return strings.Join(parts, sep) },
		"fail": func() (string, error) { return "", errors.New("it failed") },
		"flip": func(b bool) bool { return !b },
	})
	if c.Option != "" {
		t = t.Option(c.Option)
	}
	t, err := t.Parse(c.Template)
	if err != nil {
		return result{Error: err.Error()}
	}
	var data any
	decoder := json.NewDecoder(strings.NewReader(string(c.Data)))
	decoder.UseNumber()
	if err := decoder.Decode(&data); err != nil {
		return result{Error: "bad case: " + err.Error()}
	}
	var out strings.Builder
	if err := t.Execute(&out, convert(data)); err != nil {
		return result{Error: err.Error()}
	}
	s := out.String()
	return result{Output: &s}
}

func main() {
	var cases []testCase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	results := []result{}
	for _, c := range cases {
		results = append(results, run(c))
	}
	json.NewEncoder(os.Stdout).Encode(results)
}
