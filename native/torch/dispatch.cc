// Calls any operator of libtorch by name, through c10's dispatcher with a boxed stack. The operator's schema determines how
// each JavaScript value becomes an IValue, so nothing here depends on a particular operator.
#include "handle.h"
#include "precision.h"
#include "random.h"

#include <ATen/ScalarOps.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/enum_tag.h>
#include <ATen/core/ivalue.h>
#include <c10/core/Scalar.h>

#include <cmath>
#include <optional>

namespace dino {

namespace {

using c10::IValue;
using c10::TypeKind;

struct Operator {
  c10::OperatorHandle handle;
  bool is_random;  // it may draw random numbers
};

// Attention draws random numbers only for its dropout, which is mostly 0.
bool draws(const Operator& op, const torch::jit::Stack& stack) {
  if (!op.is_random) return false;
  const auto dropout = op.handle.schema().argumentIndexWithName("dropout_p");
  return !dropout || !stack[*dropout].isDouble() || stack[*dropout].toDouble() > 0;
}

[[noreturn]] void wrong_type(const c10::Argument& argument, const Napi::Value& value) {
  std::string got = value.IsUndefined() ? "undefined" : value.IsNull() ? "null" : value.ToString().Utf8Value();
  if (value.IsExternal()) got = "a tensor";
  TORCH_CHECK(false, "argument '", argument.name(), "': expected ", argument.type()->str(), ", got ", got);
}

bool is_number(const Napi::Value& value) { return value.IsNumber() || value.IsBigInt(); }

int64_t to_int(const c10::Argument& argument, const Napi::Value& value) {
  if (value.IsBigInt()) {
    bool lossless;
    const int64_t number = value.As<Napi::BigInt>().Int64Value(&lossless);
    TORCH_CHECK(lossless, "argument '", argument.name(), "': ", value.ToString().Utf8Value(),
                " does not fit a 64-bit integer (-2^63 to 2^63 - 1)");
    return number;
  }
  if (!value.IsNumber()) wrong_type(argument, value);
  double number = value.As<Napi::Number>().DoubleValue();
  TORCH_CHECK(number == std::floor(number) && std::abs(number) <= 9007199254740992.0, "argument '", argument.name(),
              "': expected an integer, got ", number);
  return static_cast<int64_t>(number);
}

// A whole JavaScript number is an integer scalar, as in Python's `x + 1`; on float tensors both mean the same.
c10::Scalar to_scalar(const c10::Argument& argument, const Napi::Value& value) {
  if (value.IsBoolean()) return c10::Scalar(value.As<Napi::Boolean>().Value());
  if (value.IsBigInt()) return c10::Scalar(to_int(argument, value));
  if (!value.IsNumber()) wrong_type(argument, value);
  double number = value.As<Napi::Number>().DoubleValue();
  if (number == std::floor(number) && std::abs(number) < 9007199254740992.0 && !(number == 0 && std::signbit(number))) {
    return c10::Scalar(static_cast<int64_t>(number));
  }
  return c10::Scalar(number);
}

at::Tensor to_tensor(const c10::Argument& argument, const Napi::Value& value) {
  if (value.IsExternal()) return unwrap_tensor(value);
  if (!is_number(value) && !value.IsBoolean()) wrong_type(argument, value);
  at::Tensor wrapped = c10::scalar_to_tensor(to_scalar(argument, value));
  wrapped.unsafeGetTensorImpl()->set_wrapped_number(true);  // so that it does not decide the result's dtype
  return wrapped;
}

IValue to_list(const c10::Argument& argument, const c10::TypePtr& element, const Napi::Value& value) {
  const bool single = !value.IsArray();
  // one number stands for every entry of a list of known length, as in Python
  const int64_t repeat = argument.N() ? *argument.N() : 1;
  Napi::Array array = single ? Napi::Array() : value.As<Napi::Array>();
  const int64_t length = single ? repeat : array.Length();
  auto at = [&](int64_t i) -> Napi::Value { return single ? value : array.Get(static_cast<uint32_t>(i)); };
  switch (element->kind()) {
    case TypeKind::TensorType: {
      if (single) wrong_type(argument, value);
      c10::List<at::Tensor> list;
      list.reserve(length);
      for (int64_t i = 0; i < length; i++) list.push_back(to_tensor(argument, at(i)));
      return list;
    }
    case TypeKind::IntType:
    case TypeKind::SymIntType: {
      c10::List<int64_t> list;
      list.reserve(length);
      for (int64_t i = 0; i < length; i++) list.push_back(to_int(argument, at(i)));
      return list;
    }
    case TypeKind::FloatType: {
      c10::List<double> list;
      for (int64_t i = 0; i < length; i++) {
        if (!at(i).IsNumber()) wrong_type(argument, at(i));
        list.push_back(at(i).As<Napi::Number>().DoubleValue());
      }
      return list;
    }
    case TypeKind::BoolType: {
      c10::List<bool> list;
      for (int64_t i = 0; i < length; i++) {
        if (!at(i).IsBoolean()) wrong_type(argument, at(i));
        list.push_back(at(i).As<Napi::Boolean>().Value());
      }
      return list;
    }
    case TypeKind::NumberType: {
      c10::List<c10::Scalar> list;
      for (int64_t i = 0; i < length; i++) list.push_back(to_scalar(argument, at(i)));
      return IValue(list);
    }
    case TypeKind::OptionalType: {
      c10::List<std::optional<at::Tensor>> list;
      for (int64_t i = 0; i < length; i++) {
        Napi::Value entry = at(i);
        list.push_back(entry.IsNull() || entry.IsUndefined() ? std::optional<at::Tensor>()
                                                             : std::optional<at::Tensor>(to_tensor(argument, entry)));
      }
      return list;
    }
    default:
      TORCH_CHECK(false, "argument '", argument.name(), "': lists of ", element->str(), " are not supported");
  }
}

IValue to_ivalue(const c10::Argument& argument, const c10::TypePtr& type, const Napi::Value& value) {
  switch (type->kind()) {
    case TypeKind::OptionalType:
      if (value.IsNull() || value.IsUndefined()) return IValue();
      return to_ivalue(argument, type->castRaw<c10::OptionalType>()->getElementType(), value);
    case TypeKind::TensorType:
      return to_tensor(argument, value);
    case TypeKind::IntType:
    case TypeKind::SymIntType:
      return to_int(argument, value);
    case TypeKind::FloatType:
      if (!value.IsNumber()) wrong_type(argument, value);
      return value.As<Napi::Number>().DoubleValue();
    case TypeKind::BoolType:
      if (!value.IsBoolean()) wrong_type(argument, value);
      return value.As<Napi::Boolean>().Value();
    case TypeKind::NumberType:
      return to_scalar(argument, value);
    case TypeKind::StringType:
      if (!value.IsString()) wrong_type(argument, value);
      return value.As<Napi::String>().Utf8Value();
    case TypeKind::DeviceObjType:
      if (!value.IsString()) wrong_type(argument, value);
      return parse_device(value.As<Napi::String>().Utf8Value());
    case TypeKind::GeneratorType:
      if (!value.IsExternal()) wrong_type(argument, value);
      return *value.As<Napi::External<at::Generator>>().Data();
    case TypeKind::ListType:
      return to_list(argument, type->castRaw<c10::ListType>()->getElementType(), value);
    default:
      TORCH_CHECK(false, "argument '", argument.name(), "': values of type ", type->str(), " are not supported");
  }
}

Napi::Value from_ivalue(Napi::Env env, IValue value) {
  if (value.isTensor()) return wrap_tensor(env, std::move(value).toTensor());
  if (value.isInt()) return Napi::Number::New(env, static_cast<double>(value.toInt()));
  if (value.isSymInt()) {
    return Napi::Number::New(env, static_cast<double>(value.toSymInt().guard_int(__FILE__, __LINE__)));
  }
  if (value.isDouble()) return Napi::Number::New(env, value.toDouble());
  if (value.isBool()) return Napi::Boolean::New(env, value.toBool());
  if (value.isString()) return Napi::String::New(env, value.toStringRef());
  if (value.isNone()) return env.Null();
  if (value.isScalar()) return Napi::Number::New(env, value.toScalar().toDouble());
  if (value.isTensorList()) {
    auto tensors = value.toTensorVector();
    auto array = Napi::Array::New(env, tensors.size());
    for (size_t i = 0; i < tensors.size(); i++) array.Set(i, wrap_tensor(env, tensors[i]));
    return array;
  }
  if (value.isList()) {
    auto list = value.toList();
    auto array = Napi::Array::New(env, list.size());
    for (size_t i = 0; i < list.size(); i++) array.Set(i, from_ivalue(env, list.get(i)));
    return array;
  }
  TORCH_CHECK(false, "results of type ", value.tagKind(), " are not supported");
}

// findOperator(name, overload) -> {handle, arguments, inPlace}, or null when libtorch doesn't have the operator.
Napi::Value find_operator(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  auto found = c10::Dispatcher::singleton().findSchema(
      {info[0].As<Napi::String>().Utf8Value(), info[1].As<Napi::String>().Utf8Value()});
  if (!found) return env.Null();
  const auto& schema = found->schema();
  auto arguments = Napi::Array::New(env, schema.arguments().size());
  for (size_t i = 0; i < schema.arguments().size(); i++) {
    const auto& argument = schema.arguments()[i];
    auto entry = Napi::Object::New(env);
    entry.Set("name", argument.name());
    // the real type distinguishes dtype, layout and memory format from plain integers
    entry.Set("type", argument.real_type()->str());
    entry.Set("keywordOnly", argument.kwarg_only());
    entry.Set("hasDefault", argument.default_value().has_value());
    entry.Set("length", argument.N() ? Napi::Number::New(env, *argument.N()) : env.Null());
    arguments.Set(i, entry);
  }
  auto result = Napi::Object::New(env);
  result.Set("handle",
             Napi::External<Operator>::New(env, new Operator{*found, found->hasTag(at::Tag::nondeterministic_seeded)},
                                           [](Napi::Env, Operator* dead) { delete dead; }));
  result.Set("arguments", arguments);
  const auto& returns = schema.returns();
  result.Set("inPlace", returns.size() == 1 && returns[0].alias_info() && returns[0].alias_info()->isWrite());
  return result;
  DINO_CATCH(env)
}

// callOperator(handle, values): values in schema order; undefined takes the schema's default. An in-place operator
// returns undefined: its result is the tensor that went in.
Napi::Value call_operator(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  auto* op = info[0].As<Napi::External<Operator>>().Data();
  auto values = info[1].As<Napi::Array>();
  const auto& schema = op->handle.schema();
  const auto& arguments = schema.arguments();
  torch::jit::Stack stack;
  stack.reserve(arguments.size());
  for (uint32_t i = 0; i < arguments.size(); i++) {
    Napi::Value value = values.Get(i);
    if (value.IsUndefined() && arguments[i].default_value()) {
      stack.emplace_back(*arguments[i].default_value());
    } else {
      stack.emplace_back(to_ivalue(arguments[i], arguments[i].type(), value));
    }
  }
  {
    const PrecisionTurn precision;
    std::optional<RandomTurn> turn;
    if (draws(*op, stack)) turn.emplace();
    op->handle.callBoxed(stack);
  }
  const auto& returns = schema.returns();
  if (returns.empty() || stack.empty()) return env.Undefined();
  if (returns.size() == 1 && returns[0].alias_info() && returns[0].alias_info()->isWrite()) return env.Undefined();
  if (stack.size() == 1) return from_ivalue(env, std::move(stack[0]));
  auto array = Napi::Array::New(env, stack.size());
  for (size_t i = 0; i < stack.size(); i++) array.Set(i, from_ivalue(env, std::move(stack[i])));
  return array;
  DINO_CATCH(env)
}

}  // namespace

void register_dispatch(Napi::Env env, Napi::Object exports) {
  exports.Set("findOperator", Napi::Function::New(env, find_operator));
  exports.Set("callOperator", Napi::Function::New(env, call_operator));
}

}  // namespace dino
